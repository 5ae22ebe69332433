// Prompts, and the groups that answer them, for contract tests.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/dispatch/dispatcher.h"
#include "common/wire/chunking.h"
#include "common/wire/lease_codec.h"

namespace cohort {

// Two rows of at most eight tokens.
inline absl::StatusOr<PromptItem> TestPrompt(uint64_t ordinal) {
  PromptItem item;
  item.ordinal = ordinal;
  item.source = "addition-1";
  item.reward = "last_integer";
  item.columns_json = R"({"answer": "7"})";
  item.prompt_ids = {1, 2, static_cast<int32_t>(ordinal)};
  item.plans.resize(2);
  for (SamplePlan& plan : item.plans) plan.max_new_tokens = 8;
  return item;
}

inline Group AnswerTo(const LeaseTerms& lease, int tokens = 5) {
  Group group;
  group.id = lease.group_id;
  group.ordinal = lease.ordinal;
  group.purpose = lease.purpose;
  group.source = lease.source;
  group.prompt = lease.prompt;
  group.reward_names = {"task"};
  group.rows.resize(lease.plans.size());
  const size_t count = static_cast<size_t>(tokens);
  for (size_t i = 0; i < group.rows.size(); ++i) {
    Row& row = group.rows[i];
    row.tokens.assign(count, 7);
    row.logprobs.assign(count, -0.5f);
    row.mask.assign(count, 1);
    row.versions.assign(count, lease.version_floor);
    row.rewards = {static_cast<float>(i % 2)};
    row.reward = static_cast<double>(i % 2);
  }
  group.start_version = group.end_version = lease.version_floor;
  return group;
}

inline std::vector<v1::WorkerMessage> ChunkMessages(const v1::Lease& lease,
                                                    const std::string& bytes, size_t max_chunk) {
  GroupSplitter splitter(lease.group_id(), std::make_shared<const std::string>(bytes), max_chunk);
  std::vector<v1::WorkerMessage> messages;
  while (!splitter.done()) {
    const OutgoingChunk chunk = splitter.Next(lease.lease_id(), max_chunk);
    v1::WorkerMessage message;
    *message.mutable_group_chunk() = chunk.header;
    message.mutable_group_chunk()->set_payload(std::string(chunk.payload.data, chunk.payload.size));
    messages.push_back(std::move(message));
  }
  return messages;
}

}  // namespace cohort
