// SPDX-License-Identifier: Apache-2.0
#include "tests/container/node.hpp"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <stdexcept>

#include "host/base/file.hpp"
#include "tests/integration/fuse_mount.hpp"

namespace gantry::tests {
namespace {

namespace fs = std::filesystem;

constexpr char kStorageAddress[] = "10.77.0.1";  // of the node's loopback
constexpr char kGantrydAddresses[] = "10.77.1.1,10.77.1.2";
constexpr char kKeeperAddresses[] = "10.77.2.1,10.77.2.2";
constexpr char kMemoryMib[] = "1024";
constexpr std::chrono::seconds kToolMax{20};
constexpr std::chrono::seconds kContainerMax{20};
constexpr size_t kLogBytesMax = 1U << 20;

void Need(bool good, const std::string& what) {
  if (!good) throw std::runtime_error(what + ": " + std::strerror(errno));
}

void RunTool(const std::vector<std::string>& arguments) {
  base::SpawnOptions options;
  options.arguments = arguments;
  options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  auto child = base::SpawnProgram("/usr/bin/env", options);
  if (!child) throw std::runtime_error(child.error().message);
  const auto ended = child->Wait(kToolMax);
  if (!ended || !*ended || (*ended)->code != 0 || (*ended)->signal != 0)
    throw std::runtime_error(arguments[1] + " failed");
}

fs::path SourceDirectory() {
  const char* directory = std::getenv("GANTRY_SOURCE_DIR");
  if (directory == nullptr) throw std::runtime_error("GANTRY_SOURCE_DIR is not set");
  return directory;
}

pid_t ReadPid(const fs::path& file) {
  pid_t pid = 0;
  std::ifstream(file) >> pid;
  return pid;
}

}  // namespace

void BecomeNode() {
  EnterMountNamespace();
  Need(unshare(CLONE_NEWNET) == 0, "unshare the network (needs root)");
  RunTool({"env", "ip", "link", "set", "lo", "up"});
  RunTool({"env", "ip", "address", "add", std::string(kStorageAddress) + "/32", "dev", "lo"});
}

ContainerNode::ContainerNode(const Shape& shape) : shape_(shape) {
  fs::permissions(directory_.path(), fs::perms(0755));
  fs::create_directories(shared());
  fs::create_directories(kubelet());
  Need(mount(kubelet().c_str(), kubelet().c_str(), nullptr, MS_BIND, nullptr) == 0, "bind");
  Need(mount(nullptr, kubelet().c_str(), nullptr, MS_SHARED, nullptr) == 0, "share");
  NfsNodeOptions options;
  options.server.address = kStorageAddress;
  options.host.directory = shared();
  options.host.kubelet = kubelet();
  options.host.pid_file = directory_.path() / "gantryd/pid";
  options.host.launcher = Container("gantryd", kGantrydAddresses);
  options.host.launcher.insert(options.host.launcher.end(),
                               {"--volume", kubelet().string() + ":shared", "--"});
  options.host.top = "keeper_socket: " + keeper_socket().string() +
                     "\nstart_keeper: false\ncgroup: {root: /sys/fs/cgroup, path: .}\n";
  csi_ = std::make_unique<NfsNode>(options);
}

ContainerNode::~ContainerNode() {
  csi_.reset();
  KillKeeper();
  umount2(kubelet().c_str(), MNT_DETACH);
}

std::string ContainerNode::GroupName(const std::string& container) const {
  return directory_.path().filename().string() + "-" + container;
}

std::vector<std::string> ContainerNode::Container(const std::string& name,
                                                  const std::string& addresses) const {
  const fs::path own = directory_.path() / name;
  fs::create_directories(own);
  std::vector<std::string> words{
      "/bin/bash",    (SourceDirectory() / "tests/container/run").string(),
      "--dir",        own.string(),
      "--cgroup",     GroupName(name),
      "--memory-mib", kMemoryMib,
      "--volume",     fs::absolute(BuildDirectory()).string() + ":ro",
      "--volume",     shared().string()};
  if (!shape_.host_network) words.insert(words.end(), {"--network", addresses});
  return words;
}

void ContainerNode::StartKeeper() {
  base::SpawnOptions options;
  options.arguments = Container("keeper", kKeeperAddresses);
  if (shape_.keeper_sees_kubelet)
    options.arguments.insert(options.arguments.end(), {"--volume", kubelet().string() + ":shared"});
  const fs::path programs = fs::absolute(BuildDirectory()) / "bin";
  options.arguments.insert(
      options.arguments.end(),
      {"--", (programs / "gantry-keeper").string(), "--socket", keeper_socket().string(),
       "--worker", (programs / "gantry-worker").string()});
  options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  const base::UniqueFd log(open((directory_.path() / "keeper.log").c_str(),
                                O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  options.stdout_fd = log.get();
  options.stderr_fd = log.get();
  fs::remove(keeper_socket());
  auto child = base::SpawnProgram(options.arguments[0], options);
  if (!child) throw std::runtime_error(child.error().message);
  keeper_ = std::move(*child);
  if (!Soon([&] { return fs::exists(keeper_socket()); }, kContainerMax))
    throw std::runtime_error("the keeper does not serve: " + KeeperLog());
}

void ContainerNode::KillKeeper() {
  if (!keeper_) return;
  if (const pid_t pid = keeper(); pid > 1) kill(pid, SIGKILL);
  (void)keeper_.Wait(kContainerMax);
}

void ContainerNode::AwaitGantrydsEnd() {
  // Its launcher ends after it, and until then a signal to what is dead fails.
  if (!Soon([&] { return gantryd().Kill(SIGKILL).has_value(); }, kContainerMax))
    throw std::runtime_error("gantryd's container does not end");
}

void ContainerNode::KillGantrydsGroup() {
  const fs::path top = "/sys/fs/cgroup";
  if (fs::exists(top / "cgroup.controllers")) {
    std::ofstream(top / GroupName("gantryd") / "cgroup.kill") << "1" << std::flush;
    return AwaitGantrydsEnd();
  }
  const fs::path group = top / "freezer" / GroupName("gantryd");
  const auto state = [&] { return base::ReadFile(group / "freezer.state", 64).value_or(""); };
  std::ofstream(group / "freezer.state") << "FROZEN" << std::flush;
  if (!Soon([&] { return state() == "FROZEN\n"; }, kContainerMax))
    throw std::runtime_error("gantryd's container does not freeze: " + state());
  std::ifstream processes(group / "cgroup.procs");
  for (pid_t pid = 0; processes >> pid;)
    if (pid > 1) kill(pid, SIGKILL);
  std::ofstream(group / "freezer.state") << "THAWED" << std::flush;
  AwaitGantrydsEnd();
}

void ContainerNode::KillEverything() {
  std::vector<pid_t> all = DataPaths();
  all.push_back(keeper());
  all.push_back(gantryd().pid());
  for (const pid_t pid : all)
    if (pid > 1) kill(pid, SIGKILL);
  (void)keeper_.Wait(kContainerMax);
  AwaitGantrydsEnd();
}

pid_t ContainerNode::keeper() const { return ReadPid(directory_.path() / "keeper/pid"); }

std::vector<pid_t> ContainerNode::DataPaths() const {
  std::vector<pid_t> pids;
  const std::string parent = std::to_string(keeper());
  for (const auto& entry : fs::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;
    const auto pid = static_cast<pid_t>(std::stol(name));
    if (StatusOf(pid, "PPid") != parent) continue;
    const auto command = base::ReadFile(entry.path() / "cmdline", kLogBytesMax);
    if (command && command->find("--datapath") != std::string::npos) pids.push_back(pid);
  }
  return pids;
}

std::string ContainerNode::KeeperLog() const {
  return base::ReadFile(directory_.path() / "keeper.log", kLogBytesMax).value_or("(no log)");
}

std::string NamespaceOf(pid_t pid, const std::string& kind) {
  std::error_code ignored;
  return fs::read_symlink("/proc/" + std::to_string(pid) + "/ns/" + kind, ignored);
}

}  // namespace gantry::tests
