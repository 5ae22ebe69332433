#include "common/collective/network.h"

#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace cohort {
namespace {

std::set<std::string> InterfacesWithAddress() {
  std::set<std::string> names;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return names;
  for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr) continue;
    const int family = entry->ifa_addr->sa_family;
    if (family == AF_INET || family == AF_INET6) names.insert(entry->ifa_name);
  }
  freeifaddrs(list);
  return names;
}

// The local end of a datagram socket that was connected; empty: none.
std::string LocalEnd(const addrinfo& peer) {
  std::string address;
  const int fd = socket(peer.ai_family, SOCK_DGRAM, 0);
  if (fd < 0) return address;
  sockaddr_storage local{};
  socklen_t size = sizeof(local);
  char text[NI_MAXHOST];
  if (connect(fd, peer.ai_addr, peer.ai_addrlen) == 0 &&
      getsockname(fd, reinterpret_cast<sockaddr*>(&local), &size) == 0 &&
      getnameinfo(reinterpret_cast<sockaddr*>(&local), size, text, sizeof(text), nullptr, 0,
                  NI_NUMERICHOST) == 0) {
    address = text;
  }
  close(fd);
  return address;
}

std::string OwnName() {
  char name[256] = {};
  return gethostname(name, sizeof(name) - 1) == 0 ? name : "localhost";
}

}  // namespace

absl::Status CheckInterface(const std::string& name) {
  const std::set<std::string> names = InterfacesWithAddress();
  if (names.contains(name)) return absl::OkStatus();
  return absl::NotFoundError(absl::StrCat(
      "--interface (learner.interface): expected a network interface of this machine with an "
      "address, one of ",
      absl::StrJoin(names, ", "), "; found \"", name, "\""));
}

std::string LocalAddressTowards(const std::string& host, int port) {
  const std::string target = host == "0.0.0.0" || host == "::" ? OwnName() : host;
  addrinfo hints{};
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(target.c_str(), absl::StrCat(port).c_str(), &hints, &found) != 0) return target;
  const std::string address = LocalEnd(*found);
  freeaddrinfo(found);
  return address.empty() ? target : address;
}

}  // namespace cohort
