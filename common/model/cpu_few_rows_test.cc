#include "common/model/cpu_few_rows.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

namespace cohort {
namespace {

class FewRowsTest : public testing::TestWithParam<at::ScalarType> {
 protected:
  void SetUp() override {
    at::manual_seed(5);
    const at::Tensor one = at::zeros({1, 4}, GetParam());
    if (!cpu::SupportsFewRows(one, at::zeros({4, 4}, GetParam()))) {
      GTEST_SKIP() << "needs a processor with AVX512_BF16";
    }
  }
  at::Tensor Random(int64_t rows, int64_t columns) const {
    return at::randn({rows, columns}).to(GetParam());
  }
};

TEST_P(FewRowsTest, EqualsTheProductInFp64) {
  for (const int64_t in : {1, 7, 16, 31, 33, 64, 576}) {
    for (const int64_t out : {4, 12, 100}) {
      const at::Tensor weight = Random(out, in);
      for (int64_t rows = 1; rows <= cpu::kFewRows; ++rows) {
        const at::Tensor x = Random(rows, in);
        const at::Tensor wanted = at::linear(x.to(at::kDouble), weight.to(at::kDouble));
        const at::Tensor found = cpu::FewRowsLinear(x, weight);
        ASSERT_EQ(found.scalar_type(), GetParam());
        const double tolerance = GetParam() == at::kFloat ? 1e-5 : 0.01;  // half an ulp of bf16
        ASSERT_TRUE(at::allclose(found.to(at::kDouble), wanted, tolerance, tolerance))
            << rows << " rows, " << in << " in, " << out << " out";
      }
    }
  }
}

TEST_P(FewRowsTest, ARowIsTheSameInAnyBatch) {
  const at::Tensor weight = Random(64, 100), x = Random(cpu::kFewRows, 100);
  const at::Tensor together = cpu::FewRowsLinear(x, weight);
  for (int64_t row = 0; row < x.size(0); ++row) {
    EXPECT_TRUE(at::equal(cpu::FewRowsLinear(x.narrow(0, row, 1), weight)[0], together[row]));
  }
}

TEST_P(FewRowsTest, OtherShapesAreLeftToTheGeneralProduct) {
  const at::Tensor weight = Random(8, 16);
  EXPECT_FALSE(cpu::SupportsFewRows(Random(cpu::kFewRows + 1, 16), weight));
  EXPECT_FALSE(cpu::SupportsFewRows(Random(0, 16), weight));
  EXPECT_FALSE(cpu::SupportsFewRows(Random(2, 16), Random(6, 16)));
  EXPECT_FALSE(cpu::SupportsFewRows(Random(2, 32).slice(1, 0, 32, 2), weight));
  EXPECT_FALSE(cpu::SupportsFewRows(Random(2, 16).to(at::kDouble), weight.to(at::kDouble)));
}

INSTANTIATE_TEST_SUITE_P(Types, FewRowsTest, testing::Values(at::kFloat, at::kBFloat16));

}  // namespace
}  // namespace cohort
