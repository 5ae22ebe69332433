#include "services/cli/vectors.h"

#include <cmath>
#include <exception>
#include <fstream>
#include <iostream>

#include "services/cli/vector_methods.h"

namespace cohort {
namespace {

bool SameNumber(double got, double expected, double tolerance) {
  return got == expected ||
         std::abs(got - expected) <= tolerance * std::max(1.0, std::abs(expected));
}

// Numbers within the tolerance; everything else equal. Keys that nobody expects are ignored.
bool Matches(const Json& got, const Json& expected, double tolerance) {
  if (expected.is_number() && got.is_number()) {
    return SameNumber(got.get<double>(), expected.get<double>(), tolerance);
  }
  if (expected.is_array() && got.is_array()) {
    if (got.size() != expected.size()) return false;
    for (size_t i = 0; i < got.size(); ++i) {
      if (!Matches(got[i], expected[i], tolerance)) return false;
    }
    return true;
  }
  if (expected.is_object() && got.is_object()) {
    for (const auto& [key, value] : expected.items()) {
      if (!got.contains(key) || !Matches(got[key], value, tolerance)) return false;
    }
    return true;
  }
  return got == expected;
}

VectorMethods AllMethods() {
  VectorMethods all;
  for (VectorMethods part :
       {AdvantageVectors(), LossVectors(), LogitVectors(), RewardVectors(), DataVectors()}) {
    all.merge(part);
  }
  return all;
}

struct Tally {
  int passed = 0, failed = 0, skipped = 0;
};

void PrintFailure(const Json& vector, const std::string& got) {
  std::cout << "FAILED " << vector.value("id", "?") << " (" << vector.value("method", "?")
            << ")\n  got      " << got << "\n  expected " << vector.value("expected", Json()).dump()
            << "\n  why      " << vector.value("why", "") << "\n";
}

void RunOne(const VectorMethods& methods, const Json& vector, Tally* tally) {
  const auto method = methods.find(vector.at("method").get<std::string>());
  if (method == methods.end()) {
    ++tally->skipped;
    return;
  }
  std::string got;
  try {
    const Json result = method->second(vector.at("inputs"));
    if (Matches(result, vector.at("expected"), vector.value("tol", 0.0))) {
      ++tally->passed;
      return;
    }
    got = result.dump();
  } catch (const std::exception& error) {
    got = std::string("error: ") + error.what();
  }
  ++tally->failed;
  PrintFailure(vector, got);
}

}  // namespace

int RunVectors(const std::string& path) {
  std::ifstream file(path);
  if (!file) {
    std::cerr << "vectors: cannot read " << path << "\n";
    return 1;
  }
  Tally tally;
  try {
    const Json vectors = Json::parse(file);
    if (!vectors.is_array()) throw std::runtime_error("expected a list of vectors");
    const VectorMethods methods = AllMethods();
    for (const Json& vector : vectors) RunOne(methods, vector, &tally);
  } catch (const std::exception& error) {
    std::cerr << "vectors: " << path << ": " << error.what() << "\n";
    return 1;
  }
  std::cout << tally.passed << " passed, " << tally.failed << " failed, " << tally.skipped
            << " skipped\n";
  return tally.failed == 0 ? 0 : 1;
}

}  // namespace cohort
