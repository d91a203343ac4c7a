// SPDX-License-Identifier: Apache-2.0
// What several processes have of a file: locks, leases, notices, programs that run.
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>
#include <iterator>

#include "tests/integration/posix_battery.hpp"

namespace gantry::tests {
namespace {

std::string Lock(const base::UniqueFd& fd, int command, short type, off_t from = 0,
                 off_t bytes = 0) {
  struct flock lock {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = from;
  lock.l_len = bytes;
  const std::string said = Said(fcntl(fd.get(), command, &lock));
  if (command != F_GETLK && command != F_OFD_GETLK) return said;
  return Words() << said << (lock.l_type == F_UNLCK ? " free" : " taken");
}

std::string Run(const std::string& program) {
  const pid_t child = fork();
  if (child == 0) {
    execl(program.c_str(), program.c_str(), nullptr);
    _exit(errno == EACCES ? 100 : 101);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return std::to_string(WIFEXITED(status) ? WEXITSTATUS(status) : -1);
}

void CopyProgram(const std::string& from, const std::string& to) {
  std::ifstream file(from, std::ios::binary);
  MakeFile(to, std::string((std::istreambuf_iterator<char>(file)), {}));
  (void)chmod(to.c_str(), 0755);
}

}  // namespace

std::vector<PosixProbe> SharingProbes() {
  return {
      {"lock-of-a-record",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f");
         const std::string own = Lock(fd, F_SETLK, F_WRLCK, 0, 10);
         return Words() << own << " " << InChild([&] {
                  const auto other = OpenFile(in + "f", O_RDWR);
                  return Words() << Lock(other, F_SETLK, F_WRLCK, 5, 1) << " "
                                 << Lock(other, F_GETLK, F_RDLCK, 5, 1) << " "
                                 << Lock(other, F_SETLK, F_WRLCK, 10, 1);
                });
       }},
      {"lock-ends-with-any-close",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f");
         Lock(fd, F_SETLK, F_WRLCK);
         OpenFile(in + "f", O_RDONLY).Reset();
         return InChild([&] { return Lock(OpenFile(in + "f", O_RDWR), F_SETLK, F_WRLCK); });
       }},
      {"lock-of-an-open-file",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f");
         const auto other = OpenFile(in + "f", O_RDWR);
         return Words() << Lock(fd, F_OFD_SETLK, F_RDLCK) << " "
                        << Lock(other, F_OFD_SETLK, F_RDLCK) << " "
                        << Lock(other, F_OFD_SETLK, F_WRLCK);
       }},
      {"lock-by-flock",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f");
         const auto other = OpenFile(in + "f", O_RDONLY);
         return Words() << Said(flock(fd.get(), LOCK_EX)) << " "
                        << Said(flock(other.get(), LOCK_SH | LOCK_NB)) << " "
                        << Said(flock(fd.get(), LOCK_UN)) << " "
                        << Said(flock(other.get(), LOCK_EX | LOCK_NB));
       }},
      {"lock-for-writing-of-a-readers-fd",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         return Lock(OpenFile(in + "f", O_RDONLY), F_SETLK, F_WRLCK);
       }},
      {"lease",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         const auto fd = OpenFile(in + "f", O_RDONLY);
         return Said(fcntl(fd.get(), F_SETLEASE, F_RDLCK));
       }},
      {"notice-of-changes",
       [](const std::string& in) -> std::string {
         const base::UniqueFd watch(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
         const std::string said =
             Said(inotify_add_watch(watch.get(), in.c_str(), IN_CREATE | IN_DELETE));
         MakeFile(in + "f");
         (void)unlink((in + "f").c_str());
         alignas(inotify_event) char events[4096];
         const ssize_t got = read(watch.get(), events, sizeof events);
         std::string all;
         for (ssize_t at = 0; at < got;) {
           const auto* event = reinterpret_cast<const inotify_event*>(events + at);
           all += " " + std::to_string(event->mask);
           at += static_cast<ssize_t>(sizeof *event + event->len);
         }
         return Words() << said << all;
       }},
      {"program-runs",
       [](const std::string& in) -> std::string {
         CopyProgram("/bin/true", in + "true");
         return Run(in + "true");
       }},
      {"script-runs",
       [](const std::string& in) -> std::string {
         MakeFile(in + "s", "#!/bin/sh\nexit 7\n");
         (void)chmod((in + "s").c_str(), 0755);
         return Run(in + "s");
       }},
      {"program-without-the-right-to-run",
       [](const std::string& in) -> std::string {
         MakeFile(in + "s", "#!/bin/sh\nexit 7\n");
         return Run(in + "s");
       }},
      {"program-that-runs-is-not-written",
       [](const std::string& in) -> std::string {
         CopyProgram("/bin/cat", in + "cat");
         int ends[2];
         if (pipe2(ends, O_CLOEXEC) != 0) return Said(-1);
         int ready[2];
         if (pipe2(ready, O_CLOEXEC) != 0) return Said(-1);
         const pid_t child = fork();
         if (child == 0) {
           dup2(ends[0], 0);
           execl((in + "cat").c_str(), "cat", nullptr);
           _exit(1);
         }
         // Its copy of `ready` is closed by the exec.
         close(ready[1]);
         char byte;
         (void)!read(ready[0], &byte, 1);
         const std::string said = Said(OpenFile(in + "cat", O_WRONLY));
         close(ends[1]);
         close(ends[0]);
         close(ready[0]);
         waitpid(child, nullptr, 0);
         return said;
       }},
      {"working-directory-that-is-removed",
       [](const std::string& in) -> std::string {
         return InChild([&]() -> std::string {
           char path[4096];
           (void)mkdir((in + "d").c_str(), 0755);
           std::string said = Said(chdir((in + "d").c_str()));
           if (said != Said(0)) return said;  // else the rest is done to some other directory
           said += " " + Said(rmdir((in + "d").c_str()));
           said += Words() << " " << Said(getcwd(path, sizeof path) != nullptr ? 0 : -1);
           return Words() << said << " " << Said(OpenFile("f", O_WRONLY | O_CREAT));
         });
       }},
  };
}

}  // namespace gantry::tests
