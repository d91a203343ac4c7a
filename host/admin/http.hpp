// SPDX-License-Identifier: Apache-2.0
// The few GETs that a monitoring system and a kubelet make: one thread, one answer a connection,
// everything bounded. Rejected: prometheus-cpp's Exposer, whose civetweb brings threads and
// libraries of its own and serves nothing but metrics, so that /healthz would need a second
// listener.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "host/base/clock.hpp"
#include "host/base/error.hpp"
#include "host/base/fd.hpp"

namespace gantry::admin {

constexpr size_t kHttpConnectionsMax = 32;
constexpr size_t kHttpRequestBytesMax = 8192;
constexpr std::chrono::milliseconds kHttpMsMax{5000};  // from accept to the last byte

struct HttpReply {
  int code = 200;
  std::string content_type = "text/plain; charset=utf-8";
  std::string body;
};

class HttpServer {
 public:
  // Runs on the server's thread; what it waits for, all clients wait for.
  using Handler = std::function<HttpReply(std::string_view path)>;

  // `address` as in the configuration: "127.0.0.1:9809", "[::]:9809"; port 0 takes any.
  static base::Result<std::unique_ptr<HttpServer>> Start(const std::string& address,
                                                         Handler handler);
  ~HttpServer();  // drops what is under way

  // Where it listens, with the port that it got.
  const std::string& address() const { return address_; }

 private:
  struct Connection {
    base::UniqueFd fd;
    base::TimePoint deadline;
    std::string in;
    std::string out;
    size_t sent = 0;
  };

  HttpServer(base::UniqueFd listener, base::UniqueFd stop, std::string address, Handler handler);
  void Serve();
  void Accept();
  // False once it is over.
  bool Advance(Connection& connection);
  std::string Answer(std::string_view request) const;

  const base::UniqueFd listener_;
  const base::UniqueFd stop_;
  const std::string address_;
  const Handler handler_;
  std::list<Connection> connections_;  // the serving thread's
  std::thread thread_;
};

}  // namespace gantry::admin
