// SPDX-License-Identifier: Apache-2.0
#include "host/keeper/kept_path.hpp"

#include <utility>

namespace gantry::keeper {
namespace {

using wire::KeeperMessage;
using wire::KeeperTag;

// Names of fds in a kHeld message, in the order of the fds. A region's is followed by its size.
constexpr std::string_view kFuse = "fuse";
constexpr std::string_view kMemory = "memory";
constexpr std::string_view kDescription = "description";
constexpr std::string_view kPrevious = "previous";  // the description of kPrevious
constexpr std::string_view kControl = "control";
constexpr std::string_view kLog = "log";
constexpr std::string_view kProcess = wire::kHeldProcess;
constexpr std::string_view kRegion = "region ";

}  // namespace

KeeperMessage ToHeld(const KeptPath& path, std::vector<int>& fds) {
  KeeperMessage message;
  message.kind = wire::KeeperKind::kHeld;
  message.Add(KeeperTag::kVolume, path.volume_id)
      .Add(KeeperTag::kTakeOver, uint64_t{path.take_over})
      .Add(KeeperTag::kServed, uint64_t{path.served})
      .Add(KeeperTag::kServing, uint64_t{path.serving})
      .Add(KeeperTag::kTakeOvers, path.take_overs)
      .Add(KeeperTag::kFault, path.fault)
      .Add(KeeperTag::kFaultCode, path.fault_code)
      .Add(KeeperTag::kPlugin, path.version.plugin)
      .Add(KeeperTag::kStandby, uint64_t{path.warm})
      .Add(KeeperTag::kTrial, uint64_t{path.upgrade && path.upgrade->IsOfNewVersion()});
  for (const auto& argument : path.arguments) message.Add(KeeperTag::kArgument, argument);
  if (path.previous) message.Add(KeeperTag::kPrevious, path.previous->version.plugin);
  const auto add = [&](std::string_view name, int fd) {
    if (fd < 0) return;
    message.Add(KeeperTag::kName, name);
    fds.push_back(fd);
  };
  add(kFuse, path.fuse.get());
  add(kMemory, path.memory.get());
  add(kDescription, path.version.description.get());
  if (path.previous) add(kPrevious, path.previous->version.description.get());
  const PathProcess& process = path.process;
  add(kControl, process.control.get());
  if (process.log && !process.log_ended) add(kLog, process.log->fd());
  if (process.child) {
    message.Add(KeeperTag::kPid, static_cast<uint64_t>(process.child.pid()));
    add(kProcess, process.child.pidfd());
  }
  for (const auto& [name, region] : path.regions) {
    add(std::string(kRegion) + name, region.memory.get());
    message.Add(KeeperTag::kBytes, region.bytes);
  }
  for (const auto& [name, fd] : path.kept_fds)
    add(std::string(wire::kKeptFdPrefix) + name, fd.get());
  return message;
}

base::Result<KeptPath> FromHeld(KeeperMessage& message, base::UniqueFd* log) {
  KeptPath path;
  path.volume_id = message.Text(KeeperTag::kVolume);
  path.take_over = message.Number(KeeperTag::kTakeOver) != 0;
  path.served = message.Number(KeeperTag::kServed) != 0;
  path.serving = message.Number(KeeperTag::kServing) != 0;
  path.take_overs = message.Number(KeeperTag::kTakeOvers);
  path.fault = message.Text(KeeperTag::kFault);
  path.fault_code = message.Number(KeeperTag::kFaultCode);
  path.version.plugin = message.Text(KeeperTag::kPlugin);
  path.warm = message.Number(KeeperTag::kStandby) != 0;
  const auto pid = static_cast<pid_t>(message.Number(KeeperTag::kPid));
  size_t next = 0;
  Region* region = nullptr;
  for (const auto& [tag, value] : message.fields) {
    if (tag == KeeperTag::kArgument) path.arguments.push_back(value);
    if (tag == KeeperTag::kBytes && region != nullptr)
      region->bytes = KeeperMessage::ToNumber(value);
    if (tag != KeeperTag::kName) continue;
    region = nullptr;
    if (next == message.fds.size()) break;
    base::UniqueFd fd = std::move(message.fds[next++]);
    const std::string_view name(value);
    if (name == kFuse) {
      path.fuse = std::move(fd);
    } else if (name == kMemory) {
      path.memory = std::move(fd);
    } else if (name == kDescription) {
      path.version.description = std::move(fd);
    } else if (name == kPrevious) {
      path.previous.emplace().version = {std::move(fd),
                                         std::string(message.Text(KeeperTag::kPrevious))};
    } else if (name == kControl) {
      path.process.control = std::move(fd);
    } else if (name == kLog) {
      *log = std::move(fd);
    } else if (name == kProcess && pid > 0) {
      path.process.child = base::Child(pid, std::move(fd));
    } else if (name.starts_with(kRegion)) {
      region = &path.regions[std::string(name.substr(kRegion.size()))];
      region->memory = std::move(fd);
    } else if (name.starts_with(wire::kKeptFdPrefix)) {
      path.kept_fds[std::string(name.substr(wire::kKeptFdPrefix.size()))] = std::move(fd);
    }
  }
  if (path.volume_id.empty() || path.volume_id.size() > wire::kVolumeIdBytesMax ||
      path.arguments.empty() || !path.memory || !path.version.description) {
    if (path.process.child) (void)path.process.child.Abandon();  // it may serve
    return base::Fail(base::Code::kInvalidArgument,
                      "what is to be adopted lacks its volume id, arguments or memory");
  }
  return path;
}

}  // namespace gantry::keeper
