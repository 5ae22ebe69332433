// cohort-init PROGRAM [ARGUMENT...]: process 1 of Cohort's containers (common/supervise/init.h).
#include <cstdio>

#include "common/supervise/init.h"

int main(int argc, char** argv) {
  if (argc > 1) return cohort::RunUnderInit(argv + 1);
  std::fprintf(stderr, "usage: cohort-init PROGRAM [ARGUMENT...]\n");
  return 2;
}
