// Channels to a peer: limits, keepalive, and waiting until it is there.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/security/credentials.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/concurrency/stop_token.h"
#include "common/rpc/security.h"

namespace cohort {

// No message on any stream is larger.
inline constexpr int kMaxMessageBytes = 8 << 20;
// Payload of a chunk or block: 1 MiB reaches full throughput and keeps control messages prompt.
inline constexpr size_t kMaxChunkBytes = size_t{1} << 20;

// A channel of its own connection to a server of the role `peer`. InvalidArgument: `security` does
// not let this process dial there. Every call on it begins with Security::Prepare.
absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& address,
                                                           const Security* security, Role peer);
// In plaintext and without checks.
std::shared_ptr<grpc::Channel> MakeChannel(const std::string& address);

// Blocks until the channel is connected. Says every few seconds that it waits ("waiting for learner
// at HOST:PORT for 12 s"), and why the peer was turned away if it was. DeadlineExceeded names the
// peer; Cancelled: stopped. `channel` is asked again and again: a renewed certificate needs
// another.
absl::Status WaitForPeer(const std::function<std::shared_ptr<grpc::Channel>()>& channel,
                         const std::string& peer, const std::string& address, absl::Time deadline,
                         const StopToken& stop);

// Once per process, whoever calls it how often (channels and servers do): log lines of gRPC and
// Protobuf become our DEBUG lines, since what fails reaches us as a status and is said once, by us;
// optimised builds check no lock orders.
void SetUpRpc();

}  // namespace cohort
