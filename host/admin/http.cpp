// SPDX-License-Identifier: Apache-2.0
#include "host/admin/http.hpp"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

namespace gantry::admin {
namespace {

constexpr int kBacklog = 64;

struct Address {
  sockaddr_storage storage{};
  socklen_t size = 0;
};

base::Result<Address> ParseAddress(const std::string& text) {
  const size_t colon = text.rfind(':');
  const auto bad = [&] {
    return base::Fail(base::Code::kInvalidArgument,
                      "metrics.address: \"" + text + "\": expected address:port");
  };
  if (colon == std::string::npos || colon == 0) return bad();
  std::string host = text.substr(0, colon);
  const auto port =
      htons(static_cast<uint16_t>(std::strtoul(text.c_str() + colon + 1, nullptr, /*base=*/10)));
  Address address;
  if (host.front() == '[' && host.back() == ']') {
    auto* six = reinterpret_cast<sockaddr_in6*>(&address.storage);
    six->sin6_family = AF_INET6;
    six->sin6_port = port;
    host = host.substr(1, host.size() - 2);
    if (inet_pton(AF_INET6, host.c_str(), &six->sin6_addr) != 1) return bad();
    address.size = sizeof(*six);
  } else {
    auto* four = reinterpret_cast<sockaddr_in*>(&address.storage);
    four->sin_family = AF_INET;
    four->sin_port = port;
    if (inet_pton(AF_INET, host.c_str(), &four->sin_addr) != 1) return bad();
    address.size = sizeof(*four);
  }
  return address;
}

std::string WithPort(const std::string& text, int fd) {
  sockaddr_storage bound{};
  socklen_t size = sizeof(bound);
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return text;
  const auto port = bound.ss_family == AF_INET6
                        ? reinterpret_cast<const sockaddr_in6*>(&bound)->sin6_port
                        : reinterpret_cast<const sockaddr_in*>(&bound)->sin_port;
  return text.substr(0, text.rfind(':') + 1) + std::to_string(ntohs(port));
}

const char* ReasonOf(int code) {
  constexpr int kOk = 200;
  constexpr int kBadRequest = 400;
  constexpr int kNotFound = 404;
  constexpr int kNotAllowed = 405;
  switch (code) {
    case kOk:
      return "OK";
    case kBadRequest:
      return "Bad Request";
    case kNotFound:
      return "Not Found";
    case kNotAllowed:
      return "Method Not Allowed";
    default:
      return "Service Unavailable";
  }
}

std::string Format(const HttpReply& reply, bool with_body) {
  return "HTTP/1.1 " + std::to_string(reply.code) + " " + ReasonOf(reply.code) +
         "\r\nContent-Type: " + reply.content_type +
         "\r\nContent-Length: " + std::to_string(reply.body.size()) +
         "\r\nConnection: close\r\n\r\n" + (with_body ? reply.body : "");
}

}  // namespace

base::Result<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& address,
                                                            Handler handler) {
  GANTRY_TRY_ASSIGN(const Address parsed, ParseAddress(address));
  base::UniqueFd listener(
      socket(parsed.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener) return base::FailErrno(errno, "make a socket for " + address);
  const int yes = 1;
  setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  if (bind(listener.get(), reinterpret_cast<const sockaddr*>(&parsed.storage), parsed.size) != 0 ||
      listen(listener.get(), kBacklog) != 0)
    return base::FailErrno(errno, "metrics.address: listen at " + address);
  base::UniqueFd stop(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!stop) return base::FailErrno(errno, "make an eventfd");
  const std::string bound = WithPort(address, listener.get());
  return std::unique_ptr<HttpServer>(
      new HttpServer(std::move(listener), std::move(stop), bound, std::move(handler)));
}

HttpServer::HttpServer(base::UniqueFd listener, base::UniqueFd stop, std::string address,
                       Handler handler)
    : listener_(std::move(listener)),
      stop_(std::move(stop)),
      address_(std::move(address)),
      handler_(std::move(handler)),
      thread_([this] { Serve(); }) {}

HttpServer::~HttpServer() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t n = write(stop_.get(), &one, sizeof one);
  thread_.join();
}

void HttpServer::Serve() {
  for (;;) {
    std::vector<pollfd> fds{{stop_.get(), POLLIN, 0}, {listener_.get(), POLLIN, 0}};
    auto wake = base::TimePoint::max();
    for (const auto& connection : connections_) {
      fds.push_back(
          {connection.fd.get(), static_cast<short>(connection.out.empty() ? POLLIN : POLLOUT), 0});
      wake = std::min(wake, connection.deadline);
    }
    int timeout = -1;
    if (wake != base::TimePoint::max())
      timeout = static_cast<int>(std::max<int64_t>(
          0, std::chrono::ceil<std::chrono::milliseconds>(wake - std::chrono::steady_clock::now())
                 .count()));
    if (poll(fds.data(), fds.size(), timeout) < 0 && errno != EINTR) return;
    if (fds[0].revents != 0) return;
    const auto now = std::chrono::steady_clock::now();
    size_t at = 2;
    for (auto it = connections_.begin(); it != connections_.end(); ++at) {
      const bool goes_on = now < it->deadline && (fds[at].revents == 0 || Advance(*it));
      it = goes_on ? std::next(it) : connections_.erase(it);
    }
    if (fds[1].revents != 0) Accept();
  }
}

void HttpServer::Accept() {
  base::UniqueFd fd(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!fd) return;
  // The oldest has had its chance.
  if (connections_.size() >= kHttpConnectionsMax) connections_.pop_front();
  connections_.push_back({std::move(fd), std::chrono::steady_clock::now() + kHttpMsMax, {}, {}, 0});
}

bool HttpServer::Advance(Connection& connection) {
  if (connection.out.empty()) {
    std::array<char, 2048> buffer{};
    const ssize_t n = recv(connection.fd.get(), buffer.data(), buffer.size(), 0);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) return false;
    connection.in.append(buffer.data(), static_cast<size_t>(n));
    if (connection.in.find("\r\n\r\n") != std::string::npos)
      connection.out = Answer(connection.in);
    else if (connection.in.size() > kHttpRequestBytesMax)
      return false;
    else
      return true;
  }
  const ssize_t n = send(connection.fd.get(), connection.out.data() + connection.sent,
                         connection.out.size() - connection.sent, MSG_NOSIGNAL);
  if (n < 0) return errno == EAGAIN || errno == EINTR;
  connection.sent += static_cast<size_t>(n);
  return connection.sent < connection.out.size();
}

std::string HttpServer::Answer(std::string_view request) const {
  const std::string_view line = request.substr(0, request.find("\r\n"));
  const size_t first = line.find(' ');
  const size_t second = line.find(' ', first == std::string_view::npos ? first : first + 1);
  constexpr int kBadRequest = 400;
  constexpr int kNotAllowed = 405;
  if (second == std::string_view::npos || !line.substr(second + 1).starts_with("HTTP/1."))
    return Format({kBadRequest, "text/plain", "expected an HTTP/1.x request\n"}, true);
  const std::string_view method = line.substr(0, first);
  const bool is_head = method == "HEAD";
  if (method != "GET" && !is_head)
    return Format({kNotAllowed, "text/plain", "expected GET\n"}, true);
  std::string_view path = line.substr(first + 1, second - first - 1);
  path = path.substr(0, path.find('?'));
  return Format(handler_(path), !is_head);
}

}  // namespace gantry::admin
