#include "common/wire/group_codec.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "cohort/v1/session.pb.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/utf8.h"
#include "common/wire/packed.h"
#include "common/wire/purpose_codec.h"

namespace cohort {
namespace {

constexpr int kMaxSignals = 256;

// ---- encoding ----

std::string EncodeMask(const std::vector<uint8_t>& mask) {
  const bool all = std::all_of(mask.begin(), mask.end(), [](uint8_t bit) { return bit == 1; });
  return all ? std::string() : PackArray(mask);
}

// Runs (version, count): a row is sampled by one or two versions.
std::string EncodeVersions(const std::vector<int64_t>& versions) {
  std::vector<int64_t> runs;
  for (int64_t version : versions) {
    if (runs.empty() || runs[runs.size() - 2] != version) {
      runs.push_back(version);
      runs.push_back(0);
    }
    ++runs.back();
  }
  return PackArray(runs);
}

void EncodeRow(const Row& row, v1::Row* message) {
  const size_t n = row.tokens.size();
  COHORT_CHECK(row.logprobs.size() == n && row.mask.size() == n && row.versions.size() == n)
      << "arrays of a row differ in length";
  message->set_parent(row.parent);
  message->set_parent_tokens(row.parent_tokens);
  message->set_token_ids(PackArray(row.tokens));
  message->set_logprobs(PackArray(row.logprobs));
  message->set_truncated_logprobs(PackArray(row.truncated_logprobs));
  message->set_mask(EncodeMask(row.mask));
  message->set_version_runs(EncodeVersions(row.versions));
  message->set_entropy(PackArray(row.entropy));
  message->set_finish(static_cast<v1::Row::Finish>(row.finish));
  message->set_rewards(PackArray(row.rewards));
  message->set_reward(row.reward);
  message->set_unscorable(row.unscorable);
  message->set_note(ValidUtf8(row.note));  // may quote the completion
  message->set_role(static_cast<v1::RowRole>(row.role));
  if (!std::isnan(row.truth)) message->set_truth(row.truth);
  message->set_no_answer(row.no_answer);
}

void EncodeTimings(const GroupTimings& timings, v1::Timings* message) {
  message->set_queue_seconds(timings.queue_seconds);
  message->set_prefill_seconds(timings.prefill_seconds);
  message->set_decode_seconds(timings.decode_seconds);
  message->set_reward_seconds(timings.reward_seconds);
}

// ---- decoding ----

std::string FieldOf(int row, absl::string_view name) {
  return absl::StrCat("group.rows[", row, "].", name);
}

absl::Status Expected(const std::string& field, const std::string& expected, int64_t found) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": expected ", expected, ", found ", found));
}

absl::Status CheckLength(const std::string& field, size_t expected, size_t found) {
  if (found == expected) return absl::OkStatus();
  return Expected(field, absl::StrCat(expected, " entries"), static_cast<int64_t>(found));
}

template <typename T>
absl::Status DecodeArray(const std::string& bytes, const std::string& field, size_t length,
                         std::vector<T>* values) {
  COHORT_RETURN_IF_ERROR(UnpackArray(bytes, field, values));
  return CheckLength(field, length, values->size());
}

template <typename T>
absl::Status DecodeOptionalArray(const std::string& bytes, const std::string& field, size_t length,
                                 std::vector<T>* values) {
  return bytes.empty() ? absl::OkStatus() : DecodeArray(bytes, field, length, values);
}

absl::Status DecodeMask(const std::string& bytes, const std::string& field, size_t length,
                        std::vector<uint8_t>* mask) {
  if (bytes.empty()) {
    mask->assign(length, 1);
    return absl::OkStatus();
  }
  COHORT_RETURN_IF_ERROR(DecodeArray(bytes, field, length, mask));
  for (uint8_t bit : *mask) {
    if (bit > 1) return Expected(field, "0 or 1", bit);
  }
  return absl::OkStatus();
}

absl::Status DecodeVersions(const std::string& bytes, const std::string& field, size_t length,
                            std::vector<int64_t>* versions) {
  std::vector<int64_t> runs;
  COHORT_RETURN_IF_ERROR(UnpackArray(bytes, field, &runs));
  if (runs.size() % 2 != 0) {
    return Expected(field, "pairs (version, count)", static_cast<int64_t>(runs.size()));
  }
  versions->reserve(length);
  for (size_t i = 0; i < runs.size(); i += 2) {
    const int64_t left = static_cast<int64_t>(length - versions->size());
    if (runs[i] < 0) return Expected(field, "versions of at least 0", runs[i]);
    if (runs[i + 1] < 1 || runs[i + 1] > left) {
      return Expected(field, absl::StrCat("counts that sum to ", length), runs[i + 1]);
    }
    versions->insert(versions->end(), static_cast<size_t>(runs[i + 1]), runs[i]);
  }
  return CheckLength(field, length, versions->size());
}

absl::Status DecodeParent(const v1::Row& message, int index, const Group& group, Row* row) {
  row->parent = message.parent();
  row->parent_tokens = message.parent_tokens();
  if (row->parent < -1 || row->parent >= index) {
    return Expected(FieldOf(index, "parent"), absl::StrCat("-1 or an earlier row"), row->parent);
  }
  const int64_t available =
      row->parent < 0
          ? 0
          : static_cast<int64_t>(group.rows[static_cast<size_t>(row->parent)].tokens.size());
  if (row->parent_tokens < 0 || row->parent_tokens > available) {
    return Expected(FieldOf(index, "parent_tokens"), absl::StrCat("0..", available),
                    row->parent_tokens);
  }
  return absl::OkStatus();
}

absl::Status DecodeTokens(const v1::Row& message, int index, Row* row) {
  COHORT_RETURN_IF_ERROR(
      UnpackArray(message.token_ids(), FieldOf(index, "token_ids"), &row->tokens));
  for (int32_t token : row->tokens) {
    if (token < 0) return Expected(FieldOf(index, "token_ids"), "ids of at least 0", token);
  }
  const size_t n = row->tokens.size();
  COHORT_RETURN_IF_ERROR(
      DecodeArray(message.logprobs(), FieldOf(index, "logprobs"), n, &row->logprobs));
  COHORT_RETURN_IF_ERROR(DecodeOptionalArray(message.truncated_logprobs(),
                                             FieldOf(index, "truncated_logprobs"), n,
                                             &row->truncated_logprobs));
  COHORT_RETURN_IF_ERROR(DecodeMask(message.mask(), FieldOf(index, "mask"), n, &row->mask));
  COHORT_RETURN_IF_ERROR(
      DecodeVersions(message.version_runs(), FieldOf(index, "version_runs"), n, &row->versions));
  return DecodeOptionalArray(message.entropy(), FieldOf(index, "entropy"), n, &row->entropy);
}

absl::StatusOr<Row> DecodeRow(v1::Row& message, int index, const Group& group) {
  Row row;
  COHORT_RETURN_IF_ERROR(DecodeParent(message, index, group, &row));
  COHORT_RETURN_IF_ERROR(DecodeTokens(message, index, &row));
  if (message.finish() < v1::Row::STOP || message.finish() > v1::Row::ABORTED) {
    return Expected(FieldOf(index, "finish"), "1..3", message.finish());
  }
  row.finish = static_cast<FinishReason>(message.finish());
  COHORT_RETURN_IF_ERROR(DecodeOptionalArray(message.rewards(), FieldOf(index, "rewards"),
                                             group.reward_names.size(), &row.rewards));
  row.reward = message.reward();
  row.unscorable = message.unscorable();
  row.note = std::move(*message.mutable_note());
  if (!v1::RowRole_IsValid(message.role())) {
    return Expected(FieldOf(index, "role"), "0..2", message.role());
  }
  row.role = static_cast<RowRole>(message.role());
  if (message.has_truth()) row.truth = message.truth();
  row.no_answer = message.no_answer();
  return row;
}

absl::Status DecodeSignals(v1::Group& message, Group* group) {
  if (message.signals_size() > kMaxSignals) {
    return Expected("group.signals", absl::StrCat("at most ", kMaxSignals), message.signals_size());
  }
  for (v1::Signal& signal : *message.mutable_signals()) {
    group->signals[std::move(*signal.mutable_name())] = signal.value();
  }
  return absl::OkStatus();
}

absl::Status DecodeHead(v1::Group& message, Group* group) {
  group->id = message.id();
  group->ordinal = message.ordinal();
  COHORT_ASSIGN_OR_RETURN(group->purpose, DecodePurpose(message.purpose()));
  group->source = std::move(*message.mutable_source());
  group->worker = std::move(*message.mutable_worker());
  COHORT_RETURN_IF_ERROR(UnpackArray(message.prompt_ids(), "group.prompt_ids", &group->prompt));
  for (int32_t token : group->prompt) {
    if (token < 0) return Expected("group.prompt_ids", "ids of at least 0", token);
  }
  group->reward_names.assign(message.reward_names().begin(), message.reward_names().end());
  group->start_version = message.start_version();
  group->end_version = message.end_version();
  group->temperature = message.temperature();
  group->timings = {message.timings().queue_seconds(), message.timings().prefill_seconds(),
                    message.timings().decode_seconds(), message.timings().reward_seconds()};
  return DecodeSignals(message, group);
}

}  // namespace

std::string EncodeGroup(const Group& group) {
  v1::Group message;
  message.set_id(group.id);
  message.set_ordinal(group.ordinal);
  message.set_purpose(EncodePurpose(group.purpose));
  message.set_source(group.source);
  message.set_worker(group.worker);
  message.set_prompt_ids(PackArray(group.prompt));
  for (const std::string& name : group.reward_names) message.add_reward_names(name);
  for (const Row& row : group.rows) EncodeRow(row, message.add_rows());
  message.set_start_version(group.start_version);
  message.set_end_version(group.end_version);
  message.set_temperature(group.temperature);
  EncodeTimings(group.timings, message.mutable_timings());
  for (const auto& [name, value] : group.signals) {
    v1::Signal* signal = message.add_signals();
    signal->set_name(name);
    signal->set_value(value);
  }
  return message.SerializeAsString();
}

absl::StatusOr<Group> DecodeGroup(absl::string_view bytes) {
  if (bytes.size() > kMaxGroupBytes) {
    return Expected("group", absl::StrCat("at most ", kMaxGroupBytes, " bytes"),
                    static_cast<int64_t>(bytes.size()));
  }
  v1::Group message;
  if (!message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return absl::InvalidArgumentError(
        absl::StrCat("group: ", bytes.size(), " bytes that are not a cohort.v1.Group"));
  }
  if (message.rows_size() > kMaxGroupRows) {
    return Expected("group.rows", absl::StrCat("at most ", kMaxGroupRows), message.rows_size());
  }
  Group group;
  COHORT_RETURN_IF_ERROR(DecodeHead(message, &group));
  group.rows.reserve(static_cast<size_t>(message.rows_size()));
  for (int i = 0; i < message.rows_size(); ++i) {
    COHORT_ASSIGN_OR_RETURN(Row row, DecodeRow(*message.mutable_rows(i), i, group));
    group.rows.push_back(std::move(row));
  }
  return group;
}

}  // namespace cohort
