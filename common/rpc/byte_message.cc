#include "common/rpc/byte_message.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/wire_format_lite.h>
#include <grpcpp/support/proto_buffer_reader.h>

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace cohort {
namespace {

using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;
using google::protobuf::io::CodedOutputStream;

uint32_t BytesTag(int field) {
  return WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED);
}

void AppendVarint(std::string* out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out->push_back(static_cast<char>(value | 0x80));
  out->push_back(static_cast<char>(value));
}

grpc::Slice SliceOf(const SharedBytes& bytes) {
  auto* owner = new std::shared_ptr<const void>(bytes.owner);
  // gRPC does not write to a slice it sends.
  return grpc::Slice(
      const_cast<char*>(bytes.data), bytes.size,
      [](void* held) { delete static_cast<std::shared_ptr<const void>*>(held); }, owner);
}

// More than the fields in front of a payload take.
constexpr size_t kMostHeaderBytes = 256;

std::string Front(const std::vector<grpc::Slice>& slices) {
  std::string front;
  for (const grpc::Slice& slice : slices) {
    if (front.size() == kMostHeaderBytes) break;
    front.append(reinterpret_cast<const char*>(slice.begin()),
                 std::min(slice.size(), kMostHeaderBytes - front.size()));
  }
  return front;
}

ReceivedPayload From(std::vector<grpc::Slice> slices, size_t offset) {
  ReceivedPayload payload{.owners = std::move(slices), .pieces = {}};
  for (const grpc::Slice& slice : payload.owners) {
    const absl::string_view piece(reinterpret_cast<const char*>(slice.begin()), slice.size());
    if (piece.size() > offset) payload.pieces.push_back(piece.substr(offset));
    offset -= std::min(offset, piece.size());
  }
  return payload;
}

}  // namespace

SharedBytes ShareString(std::shared_ptr<const std::string> text, size_t offset, size_t size) {
  const char* data = text->data() + offset;
  return SharedBytes{std::move(text), data, size};
}

SharedBytes ShareString(std::shared_ptr<const std::string> text) {
  const size_t size = text->size();
  return ShareString(std::move(text), 0, size);
}

grpc::ByteBuffer EncodeMessage(const google::protobuf::MessageLite& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

grpc::ByteBuffer EncodeWithPayload(int field, const google::protobuf::MessageLite& header,
                                   int payload_field, const SharedBytes& payload) {
  std::string inner = header.SerializeAsString();
  if (payload.size > 0) {
    AppendVarint(&inner, BytesTag(payload_field));
    AppendVarint(&inner, payload.size);
  }
  std::string front;
  AppendVarint(&front, BytesTag(field));
  AppendVarint(&front, inner.size() + payload.size);
  front += inner;
  std::vector<grpc::Slice> slices{grpc::Slice(front)};
  if (payload.size > 0) slices.push_back(SliceOf(payload));
  return grpc::ByteBuffer(slices.data(), slices.size());
}

std::optional<ReceivedPayload> DecodeWithPayload(const grpc::ByteBuffer& bytes, int field,
                                                 google::protobuf::MessageLite* header,
                                                 int payload_field) {
  std::vector<grpc::Slice> slices;
  if (!bytes.Dump(&slices).ok()) return std::nullopt;
  const std::string front = Front(slices);
  CodedInputStream in(reinterpret_cast<const uint8_t*>(front.data()),
                      static_cast<int>(front.size()));
  uint32_t size = 0;
  if (in.ReadTag() != BytesTag(field) || !in.ReadVarint32(&size)) return std::nullopt;
  const size_t begin = static_cast<size_t>(in.CurrentPosition());
  if (size != bytes.Length() - begin) return std::nullopt;  // not the only field
  size_t end = begin;
  for (uint32_t tag = in.ReadTag(); tag != BytesTag(payload_field); tag = in.ReadTag()) {
    if (tag == 0 || !WireFormatLite::SkipField(&in, tag)) return std::nullopt;
    end = static_cast<size_t>(in.CurrentPosition());
  }
  if (!in.ReadVarint32(&size)) return std::nullopt;
  const size_t offset = static_cast<size_t>(in.CurrentPosition());
  if (size != bytes.Length() - offset) return std::nullopt;  // not the last field
  if (!header->ParseFromString(front.substr(begin, end - begin))) return std::nullopt;
  return From(std::move(slices), offset);
}

absl::Status DecodeMessage(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite* message) {
  grpc::ByteBuffer copy = bytes;  // of references: the reader wants a mutable one
  grpc::ProtoBufferReader reader(&copy);
  if (!reader.status().ok() || !message->ParseFromZeroCopyStream(&reader)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "expected a ", message->GetTypeName(), ", found ", bytes.Length(), " bytes that are none"));
  }
  return absl::OkStatus();
}

}  // namespace cohort
