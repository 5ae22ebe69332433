// Process 1 of a container has duties that a program does not have elsewhere: it inherits every
// orphan and must reap it, and signals with their default action do not reach it. A program that
// takes a second to load its libraries would be deaf for that second, so `cohort-init`, which has
// none to load, is process 1 and the program its child.
//
// Calls nothing beyond the C library: what links it starts within milliseconds.
#pragma once

namespace cohort {

// Executes argv[0] (a path) as a child that dies with this process. Reaps, passes every signal on,
// and returns once the child has ended: with its exit code, 128 + n when signal n ended it, 127
// when it could not be executed, which is then said on standard error. Call first thing in main.
int RunUnderInit(char* const argv[]);

}  // namespace cohort
