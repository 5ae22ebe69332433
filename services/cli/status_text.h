// One screen from a learner's StatusReply.
#pragma once

#include <string>

#include "cohort/v1/session.pb.h"

namespace cohort {

std::string StatusText(const v1::StatusReply& reply);

}  // namespace cohort
