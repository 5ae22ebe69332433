// Process 1 of a container has duties that a program does not have elsewhere: it inherits every
// orphan and must reap it, and signals with their default action do not reach it.
#pragma once

#include <optional>

namespace cohort {

// Call first thing in main, before any thread. Where this is process 1, the program goes on in a
// child (nothing is returned there), while this one reaps, forwards stop signals and, at the
// child's end, returns the exit code for main. Elsewhere nothing happens.
std::optional<int> ActAsInit();

namespace internal {
std::optional<int> ForkUnderInit();  // whatever the id of this process
}  // namespace internal

}  // namespace cohort
