// SPDX-License-Identifier: Apache-2.0
// The host's functions that reach the kernel (fork and exec, sockets, pipes, flock), over the
// simulated world instead. This file defines the same symbols as host/base/process.cpp,
// host/wire/channel.cpp, socket_pair.cpp, log_pipe.cpp, host/supervise/lease.cpp and
// host/swap/journal.cpp, so the linker
// takes those out of their libraries for nobody. Rejected: interfaces for all of these, which
// nothing but the simulation would need, and fake workers at the Worker interface, which would
// leave out the reaping that fences a replay.
#include <csignal>

#include "host/base/process.hpp"
#include "host/base/sync.hpp"
#include "host/supervise/lease.hpp"
#include "host/swap/journal.hpp"
#include "host/wire/channel.hpp"
#include "host/wire/log_pipe.hpp"
#include "host/wire/socket_pair.hpp"
#include "tests/simulation/world.hpp"

using gantry::simulation::Link;
using gantry::simulation::Process;
using gantry::simulation::World;

namespace gantry::base {

Result<PinnedBinary> PinnedBinary::Open(const std::filesystem::path& path) {
  return PinnedBinary(UniqueFd(), path);
}

std::string ExitStatus::Describe() const {
  return signal != 0 ? "killed by signal " + std::to_string(signal)
                     : "exited with " + std::to_string(code);
}

Child& Child::operator=(Child&& other) noexcept {
  std::swap(pid_, other.pid_);
  std::swap(pidfd_, other.pidfd_);
  return *this;
}

Child::~Child() {
  if (pid_ <= 0) return;
  (void)Kill(SIGKILL);
  (void)Wait(std::chrono::seconds(10));
}

Status Child::Kill(int) const {
  if (pid_ <= 0) return Fail(Code::kInternal, "reaped already");
  // A dead gantryd kills nobody.
  if (!Process::Mine().dead) World::Current().Kill(*World::Current().Find(pid_));
  return {};
}

Result<std::optional<ExitStatus>> Child::Wait(std::chrono::milliseconds timeout) {
  auto& process = *World::Current().Find(pid_);
  const auto deadline = Now() + timeout;
  while (!process.dead && Now() < deadline)
    (void)World::Current().simulation.Block(process.ending, deadline, "a child to die");
  if (!process.dead) return std::optional<ExitStatus>();
  ExitStatus status;
  status.signal = process.signal;
  pid_ = -1;
  return std::optional<ExitStatus>(status);
}

pid_t Child::Abandon() { return std::exchange(pid_, -1); }

Result<Child> Spawn(const PinnedBinary&, const SpawnOptions& options) {
  std::string backend;
  std::string plugin;
  for (size_t i = 0; i + 1 < options.arguments.size(); ++i) {
    if (options.arguments[i] == "--backend") backend = options.arguments[i + 1];
    if (options.arguments[i] == "--plugin") plugin = options.arguments[i + 1];
  }
  auto* process = World::Current().Spawn(backend, plugin, options.pass_fds);
  if (process == nullptr) return Fail(Code::kUnavailable, "a dead gantryd starts nothing");
  return Child(process->pid, UniqueFd(process->pidfd));
}

}  // namespace gantry::base

namespace gantry::wire {

base::Result<ChannelPair> MakeChannelPair() {
  const auto [ours, theirs] = World::Current().NewLink();
  return ChannelPair{base::UniqueFd(ours), base::UniqueFd(theirs)};
}

base::Result<LogPipeEnds> MakeLogPipe() {
  auto& simulation = World::Current().simulation;
  return LogPipeEnds{base::UniqueFd(simulation.NewFd()), base::UniqueFd(simulation.NewFd())};
}

base::Result<bool> LogPipeReader::ReadAvailable() { return true; }

std::string LogPipeReader::Tail() const { return tail_; }

Channel::Channel(base::UniqueFd socket, ChannelOptions options)
    : socket_(std::move(socket)), options_(options) {}

base::Result<std::unique_ptr<Channel>> Channel::Create(base::UniqueFd socket,
                                                       ChannelOptions options) {
  return std::unique_ptr<Channel>(new Channel(std::move(socket), options));
}

Channel::~Channel() { Close(); }

base::Status Channel::Start(Receiver& receiver) {
  auto link = World::Current().LinkOf(socket_.get());
  link->has_reader = true;
  auto& simulation = World::Current().simulation;
  simulation.Start(
      [link, &receiver, &simulation] {
        using namespace std::chrono_literals;
        auto& world = World::Current();
        base::Error end{base::Code::kUnavailable, "the peer is gone"};
        for (;;) {
          if (link->host->dead) break;
          if (link->host_closed) {
            end = {base::Code::kCancelled, "closed"};
            break;
          }
          if (!link->to_host.empty()) {
            auto message = std::move(link->to_host.front());
            link->to_host.pop_front();
            if (world.Happens(8)) simulation.Sleep(world.Between(0us, 300us));
            if (!link->host->dead) receiver.OnMessage(std::move(message));
            continue;
          }
          if (link->worker->dead) break;
          (void)simulation.Block(link->host_waits, {}, "a worker's message");
        }
        receiver.OnClosed(end);
        link->has_reader = false;
        simulation.WakeAll(link->closing);
      },
      "reader of " + link->worker->name);
  return {};
}

base::Status Channel::Send(Message message) {
  auto link = World::Current().LinkOf(socket_.get());
  auto& simulation = World::Current().simulation;
  simulation.Point();
  if (link->host_closed || link->host->dead || (link->worker != nullptr && link->worker->dead))
    return base::Fail(base::Code::kUnavailable, "the channel is closed");
  link->to_worker.push_back(std::move(message));
  simulation.WakeAll(link->worker_waits);
  return {};
}

base::Status Channel::Flush(base::TimePoint) { return {}; }

void Channel::Close() {
  auto link = World::Current().LinkOf(socket_.get());
  auto& simulation = World::Current().simulation;
  link->host_closed = true;
  simulation.WakeAll(link->worker_waits);
  simulation.WakeAll(link->host_waits);
  while (link->has_reader) (void)simulation.Block(link->closing, {}, "a channel to close");
}

ChannelStatistics Channel::Statistics() const { return {}; }

}  // namespace gantry::wire

namespace gantry::supervise {

base::Result<base::UniqueFd> TakeLease(const std::filesystem::path& file,
                                       std::chrono::milliseconds timeout) {
  auto& world = World::Current();
  const auto end = base::Now() + timeout;
  for (;;) {
    if (Process::Mine().dead) return base::Fail(base::Code::kUnavailable, "a dead gantryd");
    auto* holder = world.HolderOf(file.string());
    if (holder == nullptr) return base::UniqueFd(world.Lease(file.string()));
    world.Kill(*holder);
    if (base::Now() >= end)
      return base::Fail(base::Code::kUnavailable,
                        file.string() + " is still held by an earlier worker");
    world.simulation.Sleep(std::chrono::milliseconds(5));
  }
}

std::filesystem::path LeaseFile(const std::filesystem::path& directory, const std::string& backend,
                                uint32_t slot) {
  return directory / (backend + "." + std::to_string(slot));
}

base::Status EndHolders(const std::filesystem::path& directory, const std::string& backend,
                        std::chrono::milliseconds timeout) {
  auto& world = World::Current();
  const auto end = base::Now() + timeout;
  for (;;) {
    if (Process::Mine().dead) return base::Fail(base::Code::kUnavailable, "a dead gantryd");
    const auto holders = world.HoldersBelow((directory / (backend + ".")).string());
    if (holders.empty()) return {};
    for (auto* holder : holders) world.Kill(*holder);
    if (base::Now() >= end) return base::Fail(base::Code::kUnavailable, "a worker does not go");
    world.simulation.Sleep(std::chrono::milliseconds(5));
  }
}

base::Status NoteHolder(int, pid_t) { return {}; }

}  // namespace gantry::supervise

namespace gantry::swap {

base::Result<std::optional<JournalEntry>> Journal::Load() const {
  const auto& files = World::Current().files;
  const auto found = files.find(file_.string());
  if (found == files.end()) return std::optional<JournalEntry>();
  return std::optional<JournalEntry>(std::any_cast<JournalEntry>(found->second));
}

base::Status Journal::Save(const JournalEntry& entry) const {
  auto& world = World::Current();
  world.simulation.Point();
  if (Process::Mine().dead) return base::Fail(base::Code::kUnavailable, "a dead gantryd");
  world.files[file_.string()] = entry;
  world.simulation.Point();
  return {};
}

}  // namespace gantry::swap
