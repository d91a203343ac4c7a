// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/scsi/portal.hpp"

#include <arpa/inet.h>
#include <netdb.h>
#include <netinet/in.h>

#include <algorithm>
#include <charconv>
#include <memory>

namespace gantry::iscsi::scsi {
namespace {

bool IsIpv4(const std::string& host) {
  in_addr address{};
  return inet_pton(AF_INET, host.c_str(), &address) == 1;
}

// As everybody writes it (RFC 5952), so that one address is one text; "" when it is none. With a zone
// ("fe80::1%eth0") as well, which inet_pton doesn't know.
std::string CanonicalIpv6(const std::string& host) {
  const size_t zone = std::min(host.find('%'), host.size());
  in6_addr address{};
  char text[INET6_ADDRSTRLEN];
  if (inet_pton(AF_INET6, host.substr(0, zone).c_str(), &address) != 1 ||
      inet_ntop(AF_INET6, &address, text, sizeof text) == nullptr)
    return "";
  return text + host.substr(zone);
}

bool IsIpv6(const std::string& host) { return !CanonicalIpv6(host).empty(); }

bool IsName(std::string_view host) {
  if (host.empty() || host.size() > kHostBytesMax || host.front() == '-' || host.front() == '.') {
    return false;
  }
  return std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
  });
}

tl::unexpected<plugin::Error> Refuse(std::string_view text) {
  return plugin::Fail(plugin::code::kInvalidArgument,
                      "portal \"" + std::string(text) +
                          "\": expected an IPv4 address, an IPv6 address in brackets or a name, "
                          "with \":port\" after it or without");
}

}  // namespace

std::string Portal::ToString() const {
  const bool brackets = host.find(':') != host.npos;
  return (brackets ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

bool Portal::IsNumeric() const { return IsIpv4(host) || IsIpv6(host); }

plugin::Result<Portal> ParsePortal(std::string_view text) {
  Portal portal;
  std::string_view host = text;
  std::string_view port;
  if (host.starts_with('[')) {
    const size_t end = host.find(']');
    if (end == host.npos) return Refuse(text);
    port = host.substr(end + 1);
    host = host.substr(1, end - 1);
    if (!IsIpv6(std::string(host))) return Refuse(text);
  } else if (const size_t colon = host.find(':');
             colon != host.npos && host.find(':', colon + 1) == host.npos) {
    port = host.substr(colon);
    host = host.substr(0, colon);
  }
  if (!port.empty()) {
    const char* const end = port.data() + port.size();
    const auto [stop, error] = std::from_chars(port.data() + 1, end, portal.port);
    if (port.front() != ':' || error != std::errc() || stop != end || portal.port == 0) {
      return Refuse(text);
    }
  }
  portal.host = host;
  if (!portal.IsNumeric() && !IsName(host)) return Refuse(text);
  if (std::string ipv6 = CanonicalIpv6(portal.host); !ipv6.empty()) portal.host = std::move(ipv6);
  return portal;
}

plugin::Result<std::vector<Portal>> ParsePortals(std::string_view text) {
  std::vector<Portal> portals;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    GANTRY_PLUGIN_TRY_ASSIGN(const Portal portal, ParsePortal(text.substr(begin, end - begin)));
    if (std::find(portals.begin(), portals.end(), portal) == portals.end()) {
      portals.push_back(portal);
    }
    begin = end + 1;
  }
  if (portals.size() > kPortalsMax) {
    return plugin::Fail(plugin::code::kInvalidArgument,
                        "portals: " + std::to_string(portals.size()) +
                            " of them, expected at most " + std::to_string(kPortalsMax));
  }
  return portals;
}

plugin::Result<std::vector<Portal>> Resolve(const Portal& portal) {
  if (portal.IsNumeric()) return std::vector<Portal>{portal};
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(portal.host.c_str(), nullptr, &hints, &found);
  if (error != 0) {
    return plugin::Fail(
        plugin::code::kUnavailable,
        "portal " + portal.ToString() + ": can't be looked up: " + gai_strerror(error));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> list(found, freeaddrinfo);
  std::vector<Portal> portals;
  for (const addrinfo* at = list.get(); at != nullptr && portals.size() < kAddressesMax;
       at = at->ai_next) {
    char numeric[NI_MAXHOST];
    if (getnameinfo(at->ai_addr, at->ai_addrlen, numeric, sizeof numeric, nullptr, 0,
                    NI_NUMERICHOST) == 0) {
      portals.push_back({numeric, portal.port});
    }
  }
  if (portals.empty()) {
    return plugin::Fail(plugin::code::kUnavailable, "portal " + portal.ToString() + ": no address");
  }
  return portals;
}

}  // namespace gantry::iscsi::scsi
