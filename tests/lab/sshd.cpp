// SPDX-License-Identifier: Apache-2.0
#include "tests/lab/sshd.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <fstream>
#include <iterator>
#include <utility>
#include <vector>

#include "host/base/fd.hpp"

namespace gantry::lab {
namespace {

using base::Code;
using base::Fail;
using base::Result;
using base::Status;
using std::chrono::milliseconds;

constexpr milliseconds kToolMsMax{20'000};
constexpr milliseconds kReadyMsMax{10'000};
constexpr int kPollMs = 10;
constexpr int kStartTriesMax = 5;

Result<base::Child> SpawnProgram(const std::string& program, std::vector<std::string> arguments,
                                 int error_fd) {
  GANTRY_TRY_ASSIGN(const auto binary, base::PinnedBinary::Open(program));
  base::SpawnOptions options;
  options.arguments = std::move(arguments);
  options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  options.stderr_fd = error_fd;
  options.new_session = true;
  return base::Spawn(binary, options);
}

Result<std::string> ReadText(const std::filesystem::path& path) {
  std::ifstream file(path);
  if (!file) return Fail(Code::kInternal, path.string() + " is missing");
  std::string text{std::istreambuf_iterator<char>(file), {}};
  return text;
}

Status MakeKey(const std::filesystem::path& path) {
  GANTRY_TRY_ASSIGN(auto child, SpawnProgram("/usr/bin/ssh-keygen",
                                             {"ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C",
                                              "test", "-f", path.string()},
                                             -1));
  GANTRY_TRY_ASSIGN(const auto status, child.Wait(kToolMsMax));
  if (!status || status->code != 0 || status->signal != 0)
    return Fail(Code::kInternal, "ssh-keygen failed");
  return {};
}

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

Result<uint16_t> FreePort() {
  const base::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof address;
  if (!fd || bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 ||
      getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    return base::FailErrno(errno, "find a free port");
  return ntohs(address.sin_port);
}

bool Answers(uint16_t port) {
  const base::UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address = Loopback(port);
  return fd && connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

Result<Sshd> Sshd::Start(const std::string& command) {
  Sshd server;
  server.directory_ = std::make_unique<base::TempDir>();
  const auto directory = server.directory_->path();
  const passwd* self = getpwuid(geteuid());
  if (self == nullptr) return Fail(Code::kInternal, "the user of this process has no name");
  server.user_ = self->pw_name;
  // sshd wants it even where it serves one user only.
  if (mkdir("/run/sshd", 0755) != 0 && errno != EEXIST && geteuid() == 0)
    return base::FailErrno(errno, "/run/sshd");
  for (const char* name : {"host_key", "client_key"}) GANTRY_TRY(MakeKey(directory / name));
  GANTRY_TRY_ASSIGN(server.client_key_, ReadText(directory / "client_key"));
  GANTRY_TRY_ASSIGN(const std::string host_key, ReadText(directory / "host_key.pub"));
  server.host_key_ = host_key.substr(0, host_key.rfind(' '));
  GANTRY_TRY_ASSIGN(const std::string client_public, ReadText(directory / "client_key.pub"));
  std::ofstream(directory / "authorized_keys")
      << "restrict,command=\"" << command << "\" " << client_public;
  for (int i = 0; i < kStartTriesMax; ++i) {
    GANTRY_TRY_ASSIGN(server.port_, FreePort());
    const auto status = server.Launch();
    if (status) return server;
    if (i + 1 == kStartTriesMax) return tl::unexpected(status.error());
  }
  return server;
}

Status Sshd::Launch() {
  const auto directory = directory_->path();
  std::ofstream(directory / "config")
      << "ListenAddress 127.0.0.1:" << port_ << "\n"
      << "HostKey " << (directory / "host_key").string() << "\n"
      << "AuthorizedKeysFile " << (directory / "authorized_keys").string() << "\n"
      << "StrictModes no\n"
         "UsePAM no\n"
         "PidFile none\n"
         "PasswordAuthentication no\n"
         "KbdInteractiveAuthentication no\n"
         "PermitRootLogin forced-commands-only\n"
         "MaxStartups 100\n"
         "LogLevel VERBOSE\n";
  const base::UniqueFd log_file(
      open(log().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!log_file) return base::FailErrno(errno, log().string());
  GANTRY_TRY_ASSIGN(child_, SpawnProgram("/usr/bin/setpriv",
                                         {"setpriv", "--pdeathsig", "KILL", "/usr/sbin/sshd", "-D",
                                          "-e", "-f", (directory / "config").string()},
                                         log_file.get()));
  const auto end = std::chrono::steady_clock::now() + kReadyMsMax;
  while (!Answers(port_)) {
    GANTRY_TRY_ASSIGN(const auto ended, child_.Wait(milliseconds(kPollMs)));
    if (ended) return Fail(Code::kUnavailable, "sshd ended: " + ReadText(log()).value_or(""));
    if (std::chrono::steady_clock::now() >= end)
      return Fail(Code::kDeadlineExceeded, "sshd does not answer: " + ReadText(log()).value_or(""));
  }
  return {};
}

Status Sshd::Kill() {
  if (!child_) return {};
  // Those that serve connections have sessions of their own, and would go on serving them.
  const std::string children = "/proc/" + std::to_string(child_.pid()) + "/task/" +
                               std::to_string(child_.pid()) + "/children";
  std::ifstream list(children);
  if (!list) return Fail(Code::kInternal, children + " is missing");
  GANTRY_TRY(child_.Kill(SIGSTOP));
  for (pid_t one = 0; list >> one;) (void)kill(one, SIGKILL);
  GANTRY_TRY(child_.Kill(SIGKILL));
  GANTRY_TRY_ASSIGN(const auto ended, child_.Wait(kToolMsMax));
  if (!ended) return Fail(Code::kDeadlineExceeded, "sshd cannot be killed");
  child_ = base::Child();
  return {};
}

Status Sshd::Restart() {
  GANTRY_TRY(Kill());
  return Launch();
}

Result<std::string> Sshd::OtherKey() {
  const auto path = directory_->path() / "other_key";
  if (!std::filesystem::exists(path)) GANTRY_TRY(MakeKey(path));
  return ReadText(path);
}

Sshd::~Sshd() { (void)Kill(); }

}  // namespace gantry::lab
