// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/datapath/locator.hpp"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/eventfd.h>

#include <cstring>
#include <memory>
#include <utility>

#include "plugins/nfs/rpc/connect.hpp"

namespace gantry::nfs {
namespace {

using AddressList = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

NfsResult<AddressList> Resolve(const std::string& host) {
  addrinfo hints = {};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_NUMERICHOST;
  addrinfo* found = nullptr;
  int result = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  if (result == EAI_NONAME) {
    hints.ai_flags = AI_ADDRCONFIG;
    result = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  }
  if (result != 0) {
    return FailNfs(Failure::kUnreachable,
                   "server \"" + host + "\": can't be looked up: " + gai_strerror(result));
  }
  return AddressList(found, freeaddrinfo);
}

NfsResult<Location> LocateAt(Server server, const addrinfo& at, const Credentials& credentials,
                             TimePoint deadline) {
  char numeric[NI_MAXHOST];
  if (getnameinfo(at.ai_addr, at.ai_addrlen, numeric, sizeof numeric, nullptr, 0, NI_NUMERICHOST) !=
      0) {
    return FailNfs(Failure::kUnreachable,
                   "server " + server.host + ": an address of no known kind");
  }
  server.host = numeric;
  GANTRY_PLUGIN_TRY_ASSIGN(const uint16_t port, FindNfsPort(server, deadline));
  Location location;
  GANTRY_PLUGIN_TRY_ASSIGN(location.root, MountRoot(server, credentials, deadline));
  std::memcpy(&location.address.storage, at.ai_addr, at.ai_addrlen);
  location.address.size = at.ai_addrlen;
  if (at.ai_family == AF_INET6) {
    reinterpret_cast<sockaddr_in6*>(&location.address.storage)->sin6_port = htons(port);
  } else {
    reinterpret_cast<sockaddr_in*>(&location.address.storage)->sin_port = htons(port);
  }
  return location;
}

NfsResult<Location> Locate(const Server& server, const Credentials& credentials,
                           TimePoint deadline) {
  GANTRY_PLUGIN_TRY_ASSIGN(const AddressList list, Resolve(server.host));
  int addresses = 0;
  for (const addrinfo* at = list.get(); at != nullptr && addresses < kAddressesMax;
       at = at->ai_next) {
    ++addresses;
  }
  NfsResult<Location> result =
      FailNfs(Failure::kUnreachable, "server " + server.host + ": no address");
  for (const addrinfo* at = list.get(); addresses > 0; at = at->ai_next, --addresses) {
    const auto now = std::chrono::steady_clock::now();
    result = LocateAt(server, *at, credentials, now + (deadline - now) / addresses);
    if (result || result.error().failure != Failure::kUnreachable) return result;
  }
  return result;
}

}  // namespace

Locator::Locator(Server server, Credentials credentials, TimePoint deadline)
    : event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), result_(FailNfs(Failure::kLost, "")) {
  thread_ = std::thread(
      [this, server = std::move(server), credentials = std::move(credentials), deadline] {
        result_ = Locate(server, credentials, deadline);
        done_.store(true, std::memory_order_release);
        eventfd_write(event_.get(), 1);
      });
}

Locator::~Locator() {
  if (thread_.joinable()) thread_.join();
}

NfsResult<Location> Locator::Take() {
  thread_.join();
  return std::move(result_);
}

}  // namespace gantry::nfs
