// The curves of the learner's page: a card each. Internal to status_page.cc.
#pragma once

#include <string>

#include "cohort/v1/session.pb.h"

namespace cohort {

// HTML: the section's heading and its cards; empty before the first step.
std::string CurveSection(const v1::StatusReply& reply);

}  // namespace cohort
