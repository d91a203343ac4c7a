// SPDX-License-Identifier: Apache-2.0
#include "host/core/server_pattern.hpp"

#include <arpa/inet.h>
#include <fnmatch.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <vector>

namespace gantry::core {
namespace {

using base::Code;
using base::Fail;

constexpr size_t kNameBytesMax = 253;  // RFC 1035
constexpr size_t kLabelBytesMax = 63;
constexpr size_t kV4Bytes = 4;
constexpr size_t kV6Bytes = 16;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLetter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool IsHexDigit(char c) { return IsDigit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

// In network order; an IPv4 address in IPv6's clothes (::ffff:10.0.0.1) is an IPv4 address.
using Address = std::vector<unsigned char>;

std::optional<Address> ParseAddress(std::string_view text) {
  const std::string copy(text);
  if (copy.find('\0') != std::string::npos) return std::nullopt;
  Address address(kV4Bytes);
  if (inet_pton(AF_INET, copy.c_str(), address.data()) == 1) return address;
  address.resize(kV6Bytes);
  if (inet_pton(AF_INET6, copy.c_str(), address.data()) != 1) return std::nullopt;
  constexpr std::array<unsigned char, 12> kMapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  if (std::equal(kMapped.begin(), kMapped.end(), address.begin()))
    address.erase(address.begin(), address.begin() + kMapped.size());
  return address;
}

std::string Canonical(const Address& address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  inet_ntop(address.size() == kV4Bytes ? AF_INET : AF_INET6, address.data(), text.data(),
            text.size());
  return text.data();
}

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return lower;
}

std::vector<std::string> Labels(std::string_view name) {
  std::vector<std::string> labels;
  for (size_t start = 0; start <= name.size();) {
    const size_t end = std::min(name.find('.', start), name.size());
    labels.emplace_back(name.substr(start, end - start));
    start = end + 1;
  }
  return labels;
}

// `wild`: other characters that a label may hold.
bool AreLabels(std::string_view name, std::string_view wild) {
  if (name.empty() || name.size() > kNameBytesMax) return false;
  const auto labels = Labels(name);
  return std::all_of(labels.begin(), labels.end(), [&](const std::string& label) {
    return !label.empty() && label.size() <= kLabelBytesMax && label.front() != '-' &&
           std::all_of(label.begin(), label.end(), [&](char c) {
             return IsLetter(c) || IsDigit(c) || c == '-' || c == '_' ||
                    wild.find(c) != std::string_view::npos;
           });
  });
}

// A name that ends in a number is read as an address by some resolvers.
bool EndsInNumber(std::string_view name) {
  const auto last = Labels(name).back();
  return IsDigit(last.front()) && (std::all_of(last.begin(), last.end(), IsHexDigit) ||
                                   last.starts_with("0x") || last.starts_with("0X"));
}

bool IsPort(std::string_view text) {
  uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return error == std::errc() && end == text.data() + text.size() && port != 0;
}

struct Network {
  Address address;
  size_t bits = 0;
};

std::optional<Network> ParseNetwork(std::string_view pattern) {
  const size_t slash = pattern.find('/');
  if (slash == std::string_view::npos) return std::nullopt;
  const auto address = ParseAddress(pattern.substr(0, slash));
  const auto digits = pattern.substr(slash + 1);
  size_t bits = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
  if (!address || error != std::errc() || end != digits.data() + digits.size() ||
      bits > 8 * address->size())
    return std::nullopt;
  return Network{*address, bits};
}

bool Contains(const Network& network, const Address& address) {
  if (network.address.size() != address.size()) return false;
  for (size_t bit = 0; bit < network.bits; ++bit) {
    const unsigned mask = 0x80U >> (bit % 8);
    if (((network.address[bit / 8] ^ address[bit / 8]) & mask) != 0) return false;
  }
  return true;
}

enum class Form { kNone, kAny, kAddress, kNetwork, kAddressPrefix, kName };

Form FormOf(std::string_view pattern) {
  if (pattern == "*") return Form::kAny;
  if (ParseAddress(pattern)) return Form::kAddress;
  if (pattern.find('/') != std::string_view::npos)
    return ParseNetwork(pattern) ? Form::kNetwork : Form::kNone;
  const bool is_prefix = pattern.ends_with('*') && pattern.find('*') == pattern.size() - 1;
  const auto before = pattern.substr(0, pattern.empty() ? 0 : pattern.size() - 1);
  const auto all = [&](auto&& good) {
    return !before.empty() && std::all_of(before.begin(), before.end(), good);
  };
  if (is_prefix && all([](char c) { return IsDigit(c) || c == '.'; })) return Form::kAddressPrefix;
  if (is_prefix && before.find(':') != std::string_view::npos &&
      all([](char c) { return IsHexDigit(c) || c == ':'; }))
    return Form::kAddressPrefix;
  // A last label that is anything would allow every domain there is.
  if (!AreLabels(pattern, "*?") ||
      Labels(pattern).back().find_first_not_of("*?") == std::string::npos || EndsInNumber(pattern))
    return Form::kNone;
  return Form::kName;
}

bool MatchesName(std::string_view pattern, std::string_view name) {
  const auto patterns = Labels(Lower(pattern));
  const auto labels = Labels(name);
  return patterns.size() == labels.size() &&
         std::equal(patterns.begin(), patterns.end(), labels.begin(),
                    [](const std::string& p, const std::string& label) {
                      return fnmatch(p.c_str(), label.c_str(), FNM_NOESCAPE) == 0;
                    });
}

}  // namespace

base::Result<ServerName> ParseServer(std::string_view text) {
  const auto refuse = [&] {
    return Fail(Code::kInvalidArgument, "server \"" + std::string(text.substr(0, 256)) +
                                            "\": expected a host name or an address, with or "
                                            "without a port, an IPv6 one with a port in brackets");
  };
  std::string_view host = text;
  if (text.starts_with('[')) {
    const size_t close = text.find(']');
    if (close == std::string_view::npos) return refuse();
    host = text.substr(1, close - 1);
    const auto rest = text.substr(close + 1);
    if (!rest.empty() && !(rest.front() == ':' && IsPort(rest.substr(1)))) return refuse();
    if (host.find(':') == std::string_view::npos) return refuse();
  } else if (std::count(text.begin(), text.end(), ':') == 1) {
    host = text.substr(0, text.find(':'));
    if (!IsPort(text.substr(host.size() + 1))) return refuse();
  }
  if (const auto address = ParseAddress(host)) return ServerName{Canonical(*address), true};
  if (!AreLabels(host, "") || EndsInNumber(host)) return refuse();
  return ServerName{Lower(host), false};
}

base::Status CheckServerPattern(std::string_view pattern) {
  if (FormOf(pattern) != Form::kNone) return {};
  return Fail(Code::kInvalidArgument,
              "server pattern \"" + std::string(pattern.substr(0, 256)) +
                  "\": expected an address, a network (10.0.0.0/24), the beginning of addresses "
                  "(10.0.0.*), a host name whose labels may hold * and ? (*.example.com), or *");
}

bool MatchesServer(std::string_view pattern, const ServerName& server) {
  switch (FormOf(pattern)) {
    case Form::kAny:
      return true;
    case Form::kAddress:
      return server.is_address && Canonical(*ParseAddress(pattern)) == server.text;
    case Form::kNetwork:
      return server.is_address && Contains(*ParseNetwork(pattern), *ParseAddress(server.text));
    case Form::kAddressPrefix:
      return server.is_address &&
             server.text.starts_with(Lower(pattern.substr(0, pattern.size() - 1)));
    case Form::kName:
      return !server.is_address && MatchesName(pattern, server.text);
    case Form::kNone:
      break;
  }
  return false;
}

}  // namespace gantry::core
