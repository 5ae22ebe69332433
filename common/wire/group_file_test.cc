#include "common/wire/group_file.h"

#include "common/base/file.h"
#include "common/base/rng.h"
#include "common/base/status_matchers.h"
#include "common/wire/group_codec.h"
#include "common/wire/test_groups.h"

namespace cohort {
namespace {

Group Some(uint64_t seed) { return RandomGroup(seed, 3, 5); }

class GroupFileTest : public testing::Test {
 protected:
  std::string Path() const { return folder_.path() + "/groups"; }
  void Write(int first, int count) const {
    auto writer = GroupFileWriter::Open(Path());
    COHORT_ASSERT_OK(writer.status());
    for (int i = first; i < first + count; ++i) {
      COHORT_ASSERT_OK(writer->Append(Some(static_cast<uint64_t>(i))));
    }
  }
  TemporaryFolder folder_;
};

TEST_F(GroupFileTest, GivesBackWhatWasAppendedOverSeveralOpenings) {
  EXPECT_EQ(CountGroupsIn(Path()), 0);
  EXPECT_THAT(ReadGroupFile(Path()), StatusIs(absl::StatusCode::kNotFound, testing::_));
  Write(0, 3);
  Write(3, 2);
  COHORT_ASSERT_OK_AND_ASSIGN(const std::vector<Group> groups, ReadGroupFile(Path()));
  ASSERT_EQ(groups.size(), 5u);
  for (size_t i = 0; i < groups.size(); ++i) {
    EXPECT_EQ(EncodeGroup(groups[i]), EncodeGroup(Some(i)));
  }
  EXPECT_EQ(CountGroupsIn(Path()), 5);
}

TEST_F(GroupFileTest, ARecordThatIsNotWholeIsLeftOutAndWrittenOver) {
  Write(0, 3);
  const std::string whole = *ReadFile(Path());
  for (const size_t cut : {size_t{1}, size_t{9}, whole.size() / 6}) {
    COHORT_ASSERT_OK(WriteFileAtomic(Path(), whole.substr(0, whole.size() - cut)));
    EXPECT_EQ(ReadGroupFile(Path())->size(), 2u);
    EXPECT_EQ(CountGroupsIn(Path()), 2);
    Write(2, 1);
    EXPECT_EQ(*ReadFile(Path()), whole);
  }
}

TEST_F(GroupFileTest, TakesAnyBytes) {
  Write(0, 2);
  const std::string whole = *ReadFile(Path());
  for (uint64_t round = 0; round < 300; ++round) {
    CounterRng rng(11, round);
    std::string bytes = whole;
    for (int edit = 0; edit < 3; ++edit) {
      // Lengths and hashes more often than the rest.
      const size_t where = rng.Below(rng.Below(2) == 0 ? 16 : bytes.size());
      bytes[where] = static_cast<char>(rng.Below(256));
    }
    COHORT_ASSERT_OK(WriteFileAtomic(Path(), bytes));
    const auto groups = ReadGroupFile(Path());
    if (groups.ok()) {
      EXPECT_LE(groups->size(), 2u);
    }
    CountGroupsIn(Path());
  }
}

}  // namespace
}  // namespace cohort
