// SPDX-License-Identifier: Apache-2.0
#include "tests/lab/gantryd.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>

#include "host/base/file.hpp"

namespace gantry::lab {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kStartMsMax{60'000};
constexpr std::chrono::milliseconds kEndMsMax{45'000};
constexpr size_t kLogBytesMax = 256U << 20;

std::filesystem::path BuildDirectory() {
  const char* build = std::getenv("GANTRY_BUILD_DIR");
  return build != nullptr ? build : "build/dev";
}

// argv of a process, its arguments separated by blanks; empty when it is gone.
std::string CommandLine(const std::filesystem::path& proc) {
  auto text = base::ReadFile(proc / "cmdline", 65536).value_or("");
  std::replace(text.begin(), text.end(), '\0', ' ');
  return text;
}

template <class Visit>
void ForEachProcess(Visit&& visit) {
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") == std::string::npos)
      visit(static_cast<pid_t>(std::stol(name)), CommandLine(entry.path()));
  }
}

void UnmountBelow(const std::filesystem::path& top) {
  std::ifstream mounts("/proc/self/mountinfo");
  std::vector<std::string> points;
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string field;
    for (int i = 0; i < 5; ++i) fields >> field;
    if (field.starts_with(top.string() + "/")) points.push_back(field);
  }
  for (auto it = points.rbegin(); it != points.rend(); ++it) umount2(it->c_str(), MNT_DETACH);
}

}  // namespace

base::Result<std::unique_ptr<Gantryd>> Gantryd::Start(GantrydOptions options) {
  // A client of C++ without a call looks at its connections every 5 s only, and so long would a
  // server that ends wait for its farewell. Read when gRPC starts.
  setenv("GRPC_CLIENT_CHANNEL_BACKUP_POLL_INTERVAL_MS", "50", 0);
  std::unique_ptr<Gantryd> self(new Gantryd(std::move(options)));
  if (self->options_.directory.empty()) self->temporary_ = std::make_unique<base::TempDir>();
  // Workers of other uids reach their plugin through it.
  std::filesystem::permissions(self->directory(), std::filesystem::perms(0755));
  std::filesystem::create_directories(self->kubelet());
  const auto plugins = self->options_.plugin_directory.empty()
                           ? std::filesystem::absolute(BuildDirectory() / "lib/gantry/plugins")
                           : self->options_.plugin_directory;
  const std::string text = "state_directory: " + (self->directory() / "state").string() +
                           "\nplugin_directory: " + plugins.string() +
                           "\nkubelet_directory: " + self->kubelet().string() +
                           "\ntrust: " + self->options_.trust + "\n" + self->options_.top +
                           "node: {id: " + self->options_.node_id + "}\ndrivers:\n" +
                           "  - name: test.gantry.example\n    endpoint: unix://" +
                           (self->directory() / "csi.sock").string() +
                           "\n    backends: " + self->options_.driver_backends + "\nbackends:\n" +
                           self->options_.backends;
  GANTRY_TRY(base::WriteFileDurably(self->directory() / "gantry.yaml", text, 0600));
  GANTRY_TRY(self->Launch());
  return self;
}

Gantryd::~Gantryd() {
  if (child_) (void)Terminate();
  // The keeper and its data paths outlive gantryd by design; here they go with it.
  UnmountBelow(kubelet());
  const std::string mark = (directory() / "state").string();
  ForEachProcess([&](pid_t pid, const std::string& command) {
    if (command.find("gantry-") == 0 || command.find("/gantry-") != std::string::npos ||
        command.starts_with("gantry"))
      if (command.find(mark) != std::string::npos) kill(pid, SIGKILL);
  });
  if (const auto report = SanitizerReport(Log(), options_.segfaults); !report.empty()) {
    std::fprintf(stderr, "a sanitizer's report in gantryd's log:\n%s\n", report.c_str());
    std::abort();
  }
}

base::Status Gantryd::Launch() {
  const fs::path programs = fs::absolute(programs_.empty() ? BuildDirectory() / "bin" : programs_);
  const auto program = programs / "gantryd";
  const base::UniqueFd log(
      open((directory() / "gantryd.log").c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  base::SpawnOptions options;
  options.arguments = {"gantryd",          "--config",    directory() / "gantry.yaml",
                       "--role",           options_.role, "--log-level",
                       options_.log_level, "--libexec",   programs};
  auto launcher = options_.launcher;
  if (options_.is_pid_one)
    launcher = {"/usr/bin/unshare", "--pid", "--fork", "--kill-child", "--mount-proc"};
  if (!launcher.empty()) {
    options.arguments[0] = program;
    options.arguments.insert(options.arguments.begin(), launcher.begin(), launcher.end());
  }
  options.environment = SanitizerEnvironment();
  options.environment.emplace_back("PATH=/usr/sbin:/usr/bin:/sbin:/bin");
  options.stdout_fd = log.get();
  options.stderr_fd = log.get();
  GANTRY_TRY_ASSIGN(const auto binary,
                    base::PinnedBinary::Open(launcher.empty() ? program : fs::path(launcher[0])));
  GANTRY_TRY_ASSIGN(child_, base::Spawn(binary, options));
  const auto channel = Connect();
  const auto end = std::chrono::system_clock::now() + kStartMsMax;
  auto identity = csi::v1::Identity::NewStub(channel);
  while (std::chrono::system_clock::now() < end) {
    pollfd gone{child_.pidfd(), POLLIN, 0};
    if (poll(&gone, 1, 0) > 0)
      return base::Fail(base::Code::kUnavailable, "gantryd ended at its start:\n" + Log());
    csi::v1::ProbeResponse response;
    auto context = Within(std::chrono::milliseconds(500));
    context->set_wait_for_ready(true);
    if (identity->Probe(context.get(), {}, &response).ok()) return {};
  }
  return base::Fail(base::Code::kDeadlineExceeded, "gantryd does not serve:\n" + Log());
}

pid_t Gantryd::pid() const {
  if (options_.pid_file.empty()) return child_.pid();
  pid_t pid = 0;
  std::ifstream(options_.pid_file) >> pid;
  return pid;
}

// A launcher ends after gantryd: the pid that it wrote is good as long as it has not ended.
base::Status Gantryd::Signal(int signal_number) const {
  if (options_.pid_file.empty()) return child_.Kill(signal_number);
  pollfd gone{child_.pidfd(), POLLIN, 0};
  if (poll(&gone, 1, 0) > 0) return {};
  const pid_t target = pid();
  if (target <= 1 || kill(target, signal_number) != 0)
    return base::FailErrno(errno, "signal gantryd, pid " + std::to_string(target));
  return {};
}

base::Status Gantryd::Kill(int signal_number) {
  GANTRY_TRY(Signal(signal_number));
  GANTRY_TRY_ASSIGN(const auto status, child_.Wait(kEndMsMax));
  if (!status) return base::Fail(base::Code::kDeadlineExceeded, "gantryd did not end");
  return {};
}

base::Status Gantryd::Restart() {
  if (child_) GANTRY_TRY(Kill(SIGKILL));
  return Launch();
}

base::Result<base::ExitStatus> Gantryd::Terminate() {
  GANTRY_TRY(Signal(SIGTERM));
  GANTRY_TRY_ASSIGN(const auto status, child_.Wait(kEndMsMax));
  if (!status) return base::Fail(base::Code::kDeadlineExceeded, "gantryd ignored SIGTERM");
  return *status;
}

std::vector<pid_t> Gantryd::WorkerPids(const std::string& backend) const {
  std::vector<pid_t> pids;
  ForEachProcess([&](pid_t pid, const std::string& command) {
    if (command.starts_with("gantry-worker --backend " + backend + " ") &&
        command.find((directory() / "state").string()) != std::string::npos)
      pids.push_back(pid);
  });
  return pids;
}

std::string Gantryd::Log() const {
  return base::ReadFile(directory() / "gantryd.log", kLogBytesMax).value_or("(no log)");
}

std::shared_ptr<grpc::Channel> Gantryd::Connect() const {
  grpc::ChannelArguments arguments;
  // A connection of its own for each, and quick tries while gantryd is being restarted.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 20);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
  return grpc::CreateCustomChannel(endpoint(), grpc::InsecureChannelCredentials(), arguments);
}

std::unique_ptr<grpc::ClientContext> Within(std::chrono::milliseconds timeout) {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(std::chrono::system_clock::now() + timeout);
  return context;
}

}  // namespace gantry::lab
