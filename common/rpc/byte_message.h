// Messages as raw bytes that are valid Protobuf: small headers are serialised, large payloads are
// appended as slices without a copy.
#pragma once

#include <google/protobuf/message_lite.h>
#include <grpcpp/support/byte_buffer.h>
#include <grpcpp/support/slice.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"

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

// InvalidArgument: the bytes are not a `message`.
absl::Status DecodeMessage(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite* message);

}  // namespace cohort
