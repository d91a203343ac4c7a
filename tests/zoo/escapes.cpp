// SPDX-License-Identifier: Apache-2.0
// A hostile plugin: tries what the sandbox forbids, one attempt a CreateVolume, named by the
// parameter "attempt" with an argument in "on". The volume's context says in "result" what came of
// it: "OK" when it worked, else the name of the errno. "ends" attempts end the worker.
// System calls are made by number, because libc's functions may take other ways than an intruder.
#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/netlink.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <gantry/gantry.hpp>
#include <map>
#include <string>
#include <thread>
#include <vector>

namespace {

// What libc says about the latest call that answered `result`.
std::string Told(long result) {
  if (result >= 0) return "OK";
  const char* name = strerrorname_np(errno);
  return name != nullptr ? name : std::to_string(errno);
}
template <class... Arguments>
std::string Do(long number, Arguments... arguments) {
  return Told(syscall(number, arguments...));
}
// One that makes a process when it works; that process must not live on.
std::string DoFork(const std::function<long()>& fork_somehow) {
  const long pid = fork_somehow();
  if (pid == 0) _exit(0);
  const std::string told = Told(pid);
  if (pid > 0) waitpid(static_cast<pid_t>(pid), nullptr, 0);
  return told;
}

std::string OpenPath(const std::string& path, int flags) {
  const int fd = open(path.c_str(), flags | O_CLOEXEC, 0600);
  const std::string told = Told(fd);
  if (fd >= 0) close(fd);
  return told;
}

std::string Read(const std::string& path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Told(fd);
  char byte = 0;
  const std::string told = Told(read(fd, &byte, 1));
  close(fd);
  return told;
}

// "@name" is an abstract socket.
std::string Connect(const std::string& where) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, where.data(), std::min(where.size(), sizeof address.sun_path - 1));
  if (where[0] == '@') address.sun_path[0] = '\0';
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + where.size() +
                                           (where[0] == '@' ? 0 : 1));
  std::string told;
  // The CSI socket is a stream, the keeper's a sequence of packets.
  for (const int type : {SOCK_STREAM, SOCK_SEQPACKET}) {
    const int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
    if (fd < 0) return Told(fd);
    told = Told(connect(fd, reinterpret_cast<const sockaddr*>(&address), size));
    close(fd);
    if (told != "EPROTOTYPE") break;
  }
  return told;
}

std::string Socket(long family, long type, long protocol) {
  const long fd = syscall(SYS_socket, family, type, protocol);
  const std::string told = Told(fd);
  if (fd >= 0) close(static_cast<int>(fd));
  return told;
}

std::string RaiseLimit(__rlimit_resource_t resource) {
  rlimit limit{};
  getrlimit(resource, &limit);
  if (limit.rlim_max == RLIM_INFINITY) return "OK";
  ++limit.rlim_max;
  return Told(setrlimit(resource, &limit));
}

std::string OpenUntilNoMore() {
  constexpr size_t kDefaultLimit = 1024;  // limits.open_files, of which some are open already
  std::vector<int> fds;
  std::string told = "OK";
  while (fds.size() < kDefaultLimit) {
    const int fd = dup(STDERR_FILENO);
    if (fd < 0) {
      told = Told(fd);
      break;
    }
    fds.push_back(fd);
  }
  for (const int fd : fds) close(fd);
  return told;
}

std::string FillMemfd() {
  const int fd = memfd_create("hoard", MFD_CLOEXEC);
  if (fd < 0) return Told(fd);
  const std::string told = Told(ftruncate(fd, 64 << 20));
  close(fd);
  return told;
}

// More than RLIMIT_DATA, none of it used.
std::string ReserveMemory() {
  constexpr size_t kBytes = size_t{64} << 30;
  void* const memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) return Told(-1);
  munmap(memory, kBytes);
  return "OK";
}

// Uses as much and holds it, until the host has had every occasion to notice.
std::string UseMemory(int kind) {
  constexpr size_t kBytes = 400 << 20;
  void* const memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, kind | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return Told(-1);
  std::memset(memory, 1, kBytes);
  (void)poll(nullptr, 0, 5000);
  munmap(memory, kBytes);
  return "OK";
}

std::string StartThreads() {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, PTHREAD_STACK_MIN + 65536);
  int error = 0;
  for (int i = 0; i < 2000 && error == 0; ++i) {
    pthread_t thread;
    error = pthread_create(
        &thread, &attributes,
        [](void*) -> void* {
          (void)poll(nullptr, 0, 10'000);
          return nullptr;
        },
        nullptr);
  }
  (void)poll(nullptr, 0, 5000);
  errno = error;
  return error == 0 ? "OK" : Told(-1);
}

long HandleOf(const char* path, struct file_handle* handle) {
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount = 0;
  return syscall(SYS_name_to_handle_at, AT_FDCWD, path, handle, &mount, 0);
}

std::string OpenByHandle() {
  alignas(file_handle) char bytes[sizeof(file_handle) + MAX_HANDLE_SZ] = {};
  auto* handle = reinterpret_cast<file_handle*>(bytes);
  handle->handle_bytes = 8;
  handle->handle_type = 1;
  const int directory = open("/usr", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return Do(SYS_open_by_handle_at, directory, handle, O_RDONLY);
}

// What libraries need of the system; the first that fails is named.
std::string OrdinaryWork() {
  std::string failed;
  const auto check = [&](const char* what, bool ok) {
    if (!ok && failed.empty()) failed = std::string(what) + ": " + strerrorname_np(errno);
  };
  addrinfo* found = nullptr;
  check("getaddrinfo", getaddrinfo("localhost", "2049", nullptr, &found) == 0);
  if (found != nullptr) freeaddrinfo(found);
  ifaddrs* interfaces = nullptr;
  check("getifaddrs", getifaddrs(&interfaces) == 0);
  if (interfaces != nullptr) freeifaddrs(interfaces);
  for (const long family : {AF_UNIX, AF_INET, AF_INET6})
    check("socket", Socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0) == "OK");
  int pair[2];
  check("socketpair", socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
  close(pair[0]);
  close(pair[1]);
  check("/etc/hosts", Read("/etc/hosts") == "OK");
  check("/dev/urandom", Read("/dev/urandom") == "OK");
  check("/dev/null", OpenPath("/dev/null", O_RDWR) == "OK");
  cpu_set_t cpus;
  check("sched_getaffinity", sched_getaffinity(0, sizeof cpus, &cpus) == 0);
  void* const page =
      mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  check("mprotect", mprotect(page, 4096, PROT_READ | PROT_EXEC) == 0);  // compilers in runtimes
  check("madvise", madvise(page, 4096, MADV_DONTNEED) == 0);
  munmap(page, 4096);
  check("mlock", mlock(&cpus, sizeof cpus) == 0);
  rlimit limit{};
  check("prlimit", prlimit(0, RLIMIT_NOFILE, nullptr, &limit) == 0);
  check("signal 0 to itself", kill(getpid(), 0) == 0);
  signal(SIGUSR1, SIG_IGN);
  check("raise", raise(SIGUSR1) == 0);
  bool ran = false;
  std::thread([&] { ran = true; }).join();
  check("a thread", ran);
  return failed.empty() ? "OK" : failed;
}

#ifdef __x86_64__
std::string OtherAbi() {
  long result = 0;
  constexpr long kGetpidOfI386 = 20;
  asm volatile("int $0x80" : "=a"(result) : "a"(kGetpidOfI386) : "memory");
  if (result >= 0) return "OK";
  errno = static_cast<int>(-result);
  return Told(-1);
}
#endif

using Attempt = std::function<std::string(const std::string& on)>;

pid_t Pid(const std::string& on) { return static_cast<pid_t>(std::atol(on.c_str())); }

const std::map<std::string, Attempt, std::less<>>& Attempts() {
  static const std::map<std::string, Attempt, std::less<>> kAttempts = {
      {"ordinary-work", [](auto&) { return OrdinaryWork(); }},
      // mounts
      {"mount", [](auto&) { return Do(SYS_mount, "x", "/etc", "tmpfs", 0, nullptr); }},
      {"bind", [](auto&) { return Do(SYS_mount, "/usr", "/etc", nullptr, MS_BIND, nullptr); }},
      {"umount", [](auto&) { return Do(SYS_umount2, "/etc", MNT_DETACH); }},
      {"fsopen", [](auto&) { return Do(SYS_fsopen, "tmpfs", 0); }},
      {"open_tree", [](auto&) { return Do(SYS_open_tree, AT_FDCWD, "/etc", 0); }},
      {"move_mount",
       [](auto&) { return Do(SYS_move_mount, AT_FDCWD, "/etc", AT_FDCWD, "/usr", 0); }},
      {"pivot_root", [](auto&) { return Do(SYS_pivot_root, "/etc", "/etc"); }},
      {"chroot", [](auto&) { return Do(SYS_chroot, "/etc"); }},
      // other processes
      {"ptrace", [](auto& on) { return Do(SYS_ptrace, PTRACE_SEIZE, Pid(on), 0, 0); }},
      {"process_vm_readv",
       [](auto& on) {
         char byte = 0;
         const iovec local{&byte, 1};
         const iovec remote{reinterpret_cast<void*>(0x1000), 1};
         return Do(SYS_process_vm_readv, Pid(on), &local, 1, &remote, 1, 0);
       }},
      {"pidfd_open", [](auto& on) { return Do(SYS_pidfd_open, Pid(on), 0); }},
      {"kill", [](auto& on) { return Do(SYS_kill, Pid(on), SIGCONT); }},
      {"kill-high-bits", [](auto& on) { return Do(SYS_kill, (1L << 32) + Pid(on), SIGCONT); }},
      {"tgkill", [](auto& on) { return Do(SYS_tgkill, Pid(on), Pid(on), SIGCONT); }},
      {"tkill", [](auto& on) { return Do(SYS_tkill, Pid(on), SIGCONT); }},
      {"sigqueue",
       [](auto& on) {
         siginfo_t info{};
         info.si_code = SI_QUEUE;
         return Do(SYS_rt_sigqueueinfo, Pid(on), SIGCONT, &info);
       }},
      {"own-of-fd", [](auto& on) { return Do(SYS_fcntl, STDERR_FILENO, F_SETOWN, Pid(on)); }},
      {"prlimit",
       [](auto& on) {
         rlimit limit{};
         return Do(SYS_prlimit64, Pid(on), RLIMIT_NOFILE, nullptr, &limit);
       }},
      // sockets
      {"connect", [](auto& on) { return Connect(on); }},
      {"raw", [](auto&) { return Socket(AF_INET, SOCK_RAW, IPPROTO_ICMP); }},
      {"raw6", [](auto&) { return Socket(AF_INET6, SOCK_RAW, IPPROTO_ICMPV6); }},
      {"packet", [](auto&) { return Socket(AF_PACKET, SOCK_RAW, 0); }},
      {"packet-high-bits", [](auto&) { return Socket((1L << 32) + AF_PACKET, SOCK_RAW, 0); }},
      {"alg", [](auto&) { return Socket(AF_ALG, SOCK_SEQPACKET, 0); }},
      {"vsock", [](auto&) { return Socket(AF_VSOCK, SOCK_STREAM, 0); }},
      {"uevents", [](auto&) { return Socket(AF_NETLINK, SOCK_DGRAM, NETLINK_KOBJECT_UEVENT); }},
      // files
      {"read", [](auto& on) { return Read(on); }},
      {"write", [](auto& on) { return OpenPath(on, O_WRONLY | O_CREAT); }},
      {"open_by_handle_at", [](auto&) { return OpenByHandle(); }},
      {"name_to_handle_at",
       [](auto&) {
         alignas(file_handle) char bytes[sizeof(file_handle) + MAX_HANDLE_SZ] = {};
         return Told(HandleOf("/usr", reinterpret_cast<file_handle*>(bytes)));
       }},
      // processes and namespaces
      {"unshare", [](auto&) { return Do(SYS_unshare, CLONE_NEWUSER); }},
      {"setns", [](auto&) { return Do(SYS_setns, STDERR_FILENO, 0); }},
      {"clone3",
       [](auto&) {
         return DoFork([] {
           struct {
             uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, more[6];
           } arguments{CLONE_NEWUSER, 0, 0, 0, SIGCHLD, {}};
           return syscall(SYS_clone3, &arguments, sizeof arguments);
         });
       }},
      {"clone-user",
       [](auto&) {
         return DoFork([] {
           return syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, 0);
         });
       }},
      {"clone-thread-user",
       [](auto&) {
         // Without CLONE_VM the kernel says EINVAL, where the filter says EPERM.
         return Do(SYS_clone, CLONE_NEWUSER | CLONE_THREAD, nullptr, nullptr, nullptr, 0);
       }},
      {"fork",
       [](auto&) {
         return DoFork([] { return syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, 0); });
       }},
      {"execve",
       [](auto& on) {
         char* const nothing[] = {nullptr};
         return Do(SYS_execve, on.c_str(), nothing, nothing);
       }},
      {"execveat",
       [](auto& on) {
         char* const nothing[] = {nullptr};
         return Do(SYS_execveat, AT_FDCWD, on.c_str(), nothing, nothing, 0);
       }},
      {"posix_spawn",
       [](auto& on) {
         char* arguments[] = {const_cast<char*>(on.c_str()), nullptr};
         pid_t pid = 0;
         errno = posix_spawn(&pid, on.c_str(), nullptr, nullptr, arguments, environ);
         return errno == 0 ? std::string("OK") : Told(-1);
       }},
      // the kernel
      {"tiocsti", [](auto&) { return Do(SYS_ioctl, STDERR_FILENO, TIOCSTI, "x"); }},
      {"tiocsti-high-bits",
       [](auto&) { return Do(SYS_ioctl, STDERR_FILENO, (1L << 32) + TIOCSTI, "x"); }},
      {"keyctl", [](auto&) { return Do(SYS_keyctl, 0 /* GET_KEYRING_ID */, -5L, 1L, 0L, 0L); }},
      {"add_key", [](auto&) { return Do(SYS_add_key, "user", "gantry", "x", 1L, -5L); }},
      {"bpf", [](auto&) { return Do(SYS_bpf, 0, nullptr, 0); }},
      {"perf_event_open", [](auto&) { return Do(SYS_perf_event_open, nullptr, 0, -1, -1, 0); }},
      {"userfaultfd", [](auto&) { return Do(SYS_userfaultfd, 1 /* USER_MODE_ONLY */); }},
      {"io_uring", [](auto&) { return Do(SYS_io_uring_setup, 1, nullptr); }},
      {"personality", [](auto&) { return Do(SYS_personality, ADDR_NO_RANDOMIZE); }},
      {"shmget", [](auto&) { return Do(SYS_shmget, IPC_PRIVATE, 4096, 0600); }},
      {"dumpable", [](auto&) { return Told(prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)); }},
      {"deathsig", [](auto&) { return Told(prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0)); }},
      {"setuid", [](auto&) { return Do(SYS_setuid, 0); }},
      {"core-limit", [](auto&) { return RaiseLimit(RLIMIT_CORE); }},
      {"data-limit", [](auto&) { return RaiseLimit(RLIMIT_DATA); }},
#ifdef __x86_64__
      {"i386", [](auto&) { return OtherAbi(); }},
      {"x32", [](auto&) { return Do(0x40000000L + SYS_getpid); }},
#endif
      // bombs
      {"fds", [](auto&) { return OpenUntilNoMore(); }},
      {"memfd", [](auto&) { return FillMemfd(); }},
      {"reserve", [](auto&) { return ReserveMemory(); }},
      {"ends-memory", [](auto&) { return UseMemory(MAP_PRIVATE); }},
      {"ends-shared-memory", [](auto&) { return UseMemory(MAP_SHARED); }},
      {"ends-threads", [](auto&) { return StartThreads(); }},
      {"ends-abort", [](auto&) -> std::string { std::abort(); }},
  };
  return kAttempts;
}

class Escapes {
 public:
  static gantry::Made<Escapes> Create(const gantry::Host&, const gantry_create&) {
    return std::make_unique<Escapes>();
  }
  gantry::Status CreateVolume(gantry::Call& call, const gantry_create_volume& request) {
    const auto attempt = Attempts().find(gantry::Find(request.parameters, "attempt"));
    if (attempt == Attempts().end()) return {GANTRY_INVALID_ARGUMENT, "no such attempt"};
    const std::map<std::string, std::string> context = {
        {"result", attempt->second(std::string(gantry::Find(request.parameters, "on")))}};
    const gantry::MapRef map(context);
    gantry_volume volume{};
    volume.handle = request.key;
    volume.capacity_bytes = 1 << 20;
    volume.context = map.get();
    call.Emit(volume);
    return gantry::Ok();
  }
  gantry::Status DeleteVolume(gantry::Call&, const gantry_volume_ref&) { return gantry::Ok(); }
};

const gantry_manifest kManifest = [] {
  gantry_manifest m{};
  m.size = sizeof m;
  m.name = gantry::ToStr("escapes");
  m.version = gantry::ToStr("1.0.0");
  m.csi_min = m.csi_max = gantry::ToStr("1.12.0");
  m.thread_model = GANTRY_THREADS_PARALLEL;
  m.access_modes = GANTRY_ACCESS_MODE_BIT(GANTRY_SINGLE_NODE_WRITER);
  m.access_types = GANTRY_ACCESS_TYPE_BIT(GANTRY_ACCESS_MOUNT);
  m.config_schema = gantry::ToStr("{}");
  m.record_format_min = m.record_format_max = 1;
  m.context_format_min = m.context_format_max = 1;
  return m;
}();

}  // namespace

GANTRY_PLUGIN(Escapes, kManifest)
