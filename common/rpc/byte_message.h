// Messages as raw bytes that are valid Protobuf: small headers are serialised, large payloads are
// appended as slices without a copy.
#pragma once

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace cohort {

// Bytes that somebody else keeps alive through `owner` (shared: a payload may still be on its way
// to several peers when its source is gone).
struct SharedBytes {
  std::shared_ptr<const void> owner;
  const char* data = nullptr;
  size_t size = 0;
};
SharedBytes ShareString(std::shared_ptr<const std::string> text, size_t offset, size_t size);
SharedBytes ShareString(std::shared_ptr<const std::string> text);

grpc::ByteBuffer EncodeMessage(const google::protobuf::MessageLite& message);

// A message whose only set field is the submessage number `field`, which consists of the fields of
// `header` followed by the bytes field number `payload_field`: what Protobuf would have written,
// given that `payload_field` is the submessage's last field. `payload` is not copied.
grpc::ByteBuffer EncodeWithPayload(int field, const google::protobuf::MessageLite& header,
                                   int payload_field, const SharedBytes& payload);

// The payload of such a message, where it lies: up to a megabyte is not copied to be looked at.
struct ReceivedPayload {
  std::vector<grpc::Slice> owners;
  std::vector<absl::string_view> pieces;  // into the owners, in order
};

// Takes apart what EncodeWithPayload puts together, and sets `header`. Nullopt: the bytes are of
// another form, which may still be a message (DecodeMessage says so).
std::optional<ReceivedPayload> DecodeWithPayload(const grpc::ByteBuffer& bytes, int field,
                                                 google::protobuf::MessageLite* header,
                                                 int payload_field);

// InvalidArgument: the bytes are not a `message`.
absl::Status DecodeMessage(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite* message);

}  // namespace cohort
