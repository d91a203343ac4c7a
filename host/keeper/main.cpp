// SPDX-License-Identifier: Apache-2.0
// gantry-keeper --socket PATH --worker PATH [--detach]
// --detach: goes to the background once the socket is served; the exit code then says whether it
// is.
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

#include "host/keeper/keeper.hpp"

namespace {

using namespace gantry;

constexpr int kUsageExit = 2;
constexpr int kAnotherKeeperExit = 3;
constexpr rlim_t kMemlockBytes = 512 * 1024 * 1024;  // of a data path; a disk's locks all it has
constexpr rlim_t kOpenFiles = 65536;

// stderr may be a pipe that nobody reads any more: then lines are lost rather than the keeper
// stuck.
void Print(std::string_view line) {
  constexpr size_t kLineBytesMax = 2048;  // below PIPE_BUF: such a write is whole or not at all
  const std::string text = "gantry-keeper: " + std::string(line.substr(0, kLineBytesMax)) + "\n";
  pollfd room{STDERR_FILENO, POLLOUT, 0};
  if (poll(&room, 1, 0) != 1 || (room.revents & POLLOUT) == 0) return;
  if (write(STDERR_FILENO, text.data(), text.size()) < 0) return;
}

// Raises a limit as far as allowed; children inherit it.
void Raise(__rlimit_resource resource, rlim_t wanted) {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0 || limit.rlim_cur >= wanted) return;
  const rlimit raised{wanted, std::max(limit.rlim_max, wanted)};
  if (setrlimit(resource, &raised) == 0) return;
  limit.rlim_cur = std::min(limit.rlim_max, wanted);
  (void)setrlimit(resource, &limit);
}

int Fail(const base::Error& error) {
  Print(error.message);
  return error.code == base::Code::kAlreadyExists ? kAnotherKeeperExit : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::string socket;
  std::string worker;
  bool detach = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument(argv[i]);
    if (argument == "--socket" && i + 1 < argc) {
      socket = argv[++i];
    } else if (argument == "--worker" && i + 1 < argc) {
      worker = argv[++i];
    } else if (argument == "--detach") {
      detach = true;
    } else {
      Print("unknown argument \"" + std::string(argument) +
            "\", expected --socket PATH --worker PATH [--detach]");
      return kUsageExit;
    }
  }
  if (socket.empty() || worker.empty()) {
    Print("--socket and --worker are needed");
    return kUsageExit;
  }
  std::signal(SIGPIPE, SIG_IGN);
  auto binary = base::PinnedBinary::Open(worker);
  if (!binary) return Fail(binary.error());
  base::UniqueFd lock;
  auto listener = keeper::Listen(socket, &lock);
  if (!listener) return Fail(listener.error());
  if (detach) {
    const pid_t child = fork();
    if (child < 0) return Fail(base::FromErrno(errno, "fork"));
    if (child > 0) {
      // Before anybody is told that it is there.
      keeper::NotePid(lock, child);
      _exit(0);
    }
    setsid();
    if (chdir("/") != 0) return Fail(base::FromErrno(errno, "chdir /"));
  }
  if (!detach) keeper::NotePid(lock, getpid());
  Raise(RLIMIT_MEMLOCK, kMemlockBytes);
  Raise(RLIMIT_NOFILE, kOpenFiles);
  std::random_device random;
  keeper::Keeper keeper(std::move(*listener), std::move(*binary), Print,
                        uint64_t{random()} << 32 | random());
  return Fail(keeper.Run().error());
}
