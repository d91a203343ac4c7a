// SPDX-License-Identifier: Apache-2.0
#include "tests/lab/ganesha.hpp"

#include <unistd.h>

#include <charconv>
#include <chrono>
#include <csignal>
#include <sstream>
#include <string_view>
#include <utility>

#include "tests/lab/tool.hpp"

namespace gantry::lab {
namespace {

using base::Code;
using base::Fail;
using base::Result;
using base::Status;

// Above the sum of the tool's own deadlines, so that its message arrives instead of ours.
constexpr std::chrono::milliseconds kToolMsMax{90000};

Result<std::string> RunTool(const std::vector<std::string>& arguments) {
  return RunLabTool("ganesha", arguments, kToolMsMax,
                    {"GANTRY_BUILD_DIR=" + EnvironmentOr("GANTRY_BUILD_DIR", "")});
}

template <class Number>
Status TakeNumber(std::string_view facts, std::string_view name, Number* number) {
  const std::string key = "\n" + std::string(name) + "=";
  const size_t at = facts.find(key);
  if (at == std::string_view::npos)
    return Fail(Code::kInternal, "tests/lab/ganesha gave no " + std::string(name));
  const std::string_view value = facts.substr(at + key.size());
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), *number);
  if (error != std::errc{} || *end != '\n')
    return Fail(Code::kInternal, "tests/lab/ganesha gave a bad " + std::string(name));
  return {};
}

}  // namespace

Result<Ganesha> Ganesha::Start(GaneshaOptions options) {
  Ganesha server;
  if (options.directory.empty()) {
    server.temporary_ = std::make_unique<base::TempDir>();
    options.directory = server.temporary_->path();
  }
  server.directory_ = options.directory;
  server.exports_ = options.exports;
  std::ostringstream exports;
  for (const auto& name : options.exports) exports << (exports.tellp() > 0 ? "," : "") << name;

  std::vector<std::string> arguments = {"start",
                                        "--dir",
                                        server.directory_.string(),
                                        "--address",
                                        options.address,
                                        "--exports",
                                        exports.str(),
                                        "--fsal",
                                        options.fsal,
                                        "--squash",
                                        options.root_squash ? "root_squash" : "no_root_squash",
                                        "--owner",
                                        std::to_string(getpid())};
  if (options.port != 0)
    arguments.insert(arguments.end(), {"--port", std::to_string(options.port)});
  if (options.privileged_port) arguments.emplace_back("--privileged-port");
  if (options.v4_only) arguments.emplace_back("--v4-only");
  GANTRY_TRY_ASSIGN(const std::string facts, RunTool(arguments));
  GANTRY_TRY(server.TakeFacts(facts));
  return server;
}

Ganesha::Ganesha(Ganesha&& other) noexcept
    : temporary_(std::move(other.temporary_)),
      directory_(std::exchange(other.directory_, {})),
      exports_(std::move(other.exports_)),
      pid_(std::exchange(other.pid_, 0)),
      port_(other.port_),
      mount_port_(other.mount_port_) {}

Ganesha& Ganesha::operator=(Ganesha&& other) noexcept {
  if (this != &other) {
    const Ganesha old(std::move(*this));
    temporary_ = std::move(other.temporary_);
    directory_ = std::exchange(other.directory_, {});
    exports_ = std::move(other.exports_);
    pid_ = std::exchange(other.pid_, 0);
    port_ = other.port_;
    mount_port_ = other.mount_port_;
  }
  return *this;
}

// Killed rather than stopped: nobody reads what a clean end would still write.
Ganesha::~Ganesha() {
  if (directory_.empty()) return;
  (void)Kill();
  (void)Stop();
}

Status Ganesha::Run(const std::string& verb) {
  GANTRY_TRY(RunTool({verb, "--dir", directory_.string()}));
  GANTRY_TRY_ASSIGN(const std::string facts, RunTool({"facts", "--dir", directory_.string()}));
  return TakeFacts(facts);
}

Status Ganesha::TakeFacts(const std::string& facts) {
  const std::string lines = "\n" + facts;
  GANTRY_TRY(TakeNumber(lines, "GANESHA_PID", &pid_));
  GANTRY_TRY(TakeNumber(lines, "GANESHA_PORT", &port_));
  return TakeNumber(lines, "GANESHA_MOUNT_PORT", &mount_port_);
}

Status Ganesha::Freeze() { return StopProcess(pid_); }
Status Ganesha::Thaw() { return ContinueProcess(pid_); }
Status Ganesha::Kill() { return Run("kill"); }
Status Ganesha::Restart() { return Run("restart"); }
Status Ganesha::Stop() { return Run("stop"); }

}  // namespace gantry::lab
