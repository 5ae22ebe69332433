#include "common/wire/group_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "common/base/file.h"
#include "common/base/hash.h"
#include "common/base/status_macros.h"
#include "common/wire/group_codec.h"

namespace cohort {
namespace {

constexpr size_t kHeader = 2 * sizeof(uint64_t);

void AppendNumber(uint64_t value, std::string* out) {
  for (int i = 0; i < 8; ++i) out->push_back(static_cast<char>(value >> (8 * i)));
}

uint64_t NumberAt(absl::string_view bytes, size_t offset) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) {
    value |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[offset + i])) << (8 * i);
  }
  return value;
}

// The first record's bytes, or nothing when it is not whole.
absl::string_view FirstRecord(absl::string_view text) {
  if (text.size() < kHeader) return {};
  const uint64_t size = NumberAt(text, 0);
  if (size > kMaxGroupBytes || size > text.size() - kHeader) return {};
  const absl::string_view bytes = text.substr(kHeader, size);
  return Xxh3Low(bytes) == NumberAt(text, sizeof(uint64_t)) ? bytes : absl::string_view();
}

}  // namespace

absl::StatusOr<GroupFileWriter> GroupFileWriter::Open(const std::string& path) {
  if (const absl::StatusOr<std::string> before = ReadFile(path); before.ok()) {
    absl::string_view rest = *before;
    for (auto record = FirstRecord(rest); !record.empty(); record = FirstRecord(rest)) {
      rest.remove_prefix(kHeader + record.size());
    }
    std::error_code error;
    std::filesystem::resize_file(path, before->size() - rest.size(), error);
    if (error) {
      return absl::InternalError(absl::StrCat("cannot shorten ", path, ": ", error.message()));
    }
  }
  COHORT_ASSIGN_OR_RETURN(AppendFile file, AppendFile::Open(path));
  return GroupFileWriter(std::move(file));
}

absl::Status GroupFileWriter::Append(const Group& group) {
  const std::string bytes = EncodeGroup(group);
  std::string record;
  AppendNumber(bytes.size(), &record);
  AppendNumber(Xxh3Low(bytes), &record);
  return file_.Append(record + bytes);
}

absl::StatusOr<std::vector<Group>> ReadGroupFile(const std::string& path) {
  COHORT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path));
  std::vector<Group> groups;
  absl::string_view rest = text;
  for (auto record = FirstRecord(rest); !record.empty(); record = FirstRecord(rest)) {
    COHORT_ASSIGN_OR_RETURN(Group group, DecodeGroup(record));
    groups.push_back(std::move(group));
    rest.remove_prefix(kHeader + record.size());
  }
  return groups;
}

int64_t CountGroupsIn(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  struct stat info{};
  const int64_t size = fstat(fd, &info) == 0 ? info.st_size : 0;
  int64_t count = 0, offset = 0;
  std::string header(kHeader, '\0');
  while (pread(fd, header.data(), kHeader, offset) == static_cast<ssize_t>(kHeader)) {
    const uint64_t bytes = NumberAt(header, 0);
    if (bytes > kMaxGroupBytes) break;
    offset += static_cast<int64_t>(kHeader + bytes);
    if (offset > size) break;
    ++count;
  }
  close(fd);
  return count;
}

}  // namespace cohort
