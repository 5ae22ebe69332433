// A run as a page, for people: where it is, how it learns, who waits for whom, and what the model
// says. Everything in it comes from one StatusReply; it stands alone, and brings itself up to date
// by asking for itself again.
//
// Pure functions. Every text of the reply, a model's completions among them, is escaped here.
#pragma once

#include <string>

#include "cohort/v1/session.pb.h"

namespace cohort {

std::string StatusPage(const v1::StatusReply& reply);

// The Content-Security-Policy under which it works: its own style and script by their hashes,
// requests to where it came from, and nothing else.
std::string StatusPagePolicy();

}  // namespace cohort
