// The script and the style of the learner's page. Internal to status_page.cc.
#pragma once

#include <string>

namespace cohort {

std::string StatusScript();
std::string StatusStyle();  // with that of all pages and of the plots

}  // namespace cohort
