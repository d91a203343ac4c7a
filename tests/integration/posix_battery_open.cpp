// SPDX-License-Identifier: Apache-2.0
// open(2): flags, modes, and who may.
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "tests/integration/posix_battery.hpp"

namespace gantry::tests {
namespace {

constexpr size_t kBlockBytes = 4096;

std::string Append(const base::UniqueFd& fd, std::string_view text) {
  return Said(write(fd.get(), text.data(), text.size()));
}

}  // namespace

std::vector<PosixProbe> OpenProbes() {
  return {
      {"open-creates-with-the-umask",
       [](const std::string& in) -> std::string {
         const mode_t before = umask(027);
         const std::string said = Said(OpenFile(in + "f", O_WRONLY | O_CREAT, 0666));
         umask(before);
         return Words() << said << " " << Said(StatOf(in + "f"));
       }},
      {"open-creates-readonly-and-writes",
       [](const std::string& in) -> std::string {
         return AsUser(1000, [&] {
           const auto fd = OpenFile(in + "f", O_WRONLY | O_CREAT | O_EXCL, 0400);
           return Words() << Said(fd) << " " << Append(fd, "x") << " " << Said(StatOf(in + "f"));
         });
       }},
      {"open-exclusive-of-a-file",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         return Words() << Said(OpenFile(in + "f", O_WRONLY | O_CREAT | O_EXCL)) << " "
                        << ContentOf(in + "f");
       }},
      {"open-exclusive-of-a-dangling-link",
       [](const std::string& in) -> std::string {
         (void)symlink("nowhere", (in + "l").c_str());
         return Said(OpenFile(in + "l", O_WRONLY | O_CREAT | O_EXCL));
       }},
      {"open-exclusive-with-mode",
       [](const std::string& in) -> std::string {
         return Words() << Said(OpenFile(in + "f", O_WRONLY | O_CREAT | O_EXCL, 0640)) << " "
                        << Said(StatOf(in + "f"));
       }},
      {"open-creates-through-a-dangling-link",
       [](const std::string& in) -> std::string {
         (void)symlink("target", (in + "l").c_str());
         return Words() << Said(OpenFile(in + "l", O_WRONLY | O_CREAT)) << " "
                        << Said(StatOf(in + "target"));
       }},
      {"open-truncates",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         const auto fd = OpenFile(in + "f", O_WRONLY | O_TRUNC);
         return Words() << Said(fd) << " " << std::to_string(StatOf(in + "f").st_size);
       }},
      {"open-creates-and-truncates-what-is-there",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         const auto fd = OpenFile(in + "f", O_RDWR | O_CREAT | O_TRUNC);
         return Words() << Said(fd) << " " << std::to_string(StatOf(in + "f").st_size) << " '"
                        << ContentOf(fd) << "'";
       }},
      {"open-truncates-for-reading",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         return Words() << Said(OpenFile(in + "f", O_RDONLY | O_TRUNC)) << " "
                        << std::to_string(StatOf(in + "f").st_size);
       }},
      {"open-a-directory-for-writing",
       [](const std::string& in) -> std::string { return Said(OpenFile(in, O_WRONLY)); }},
      {"open-creates-a-directory",
       [](const std::string& in) -> std::string {
         return Said(OpenFile(in + "f/", O_WRONLY | O_CREAT));
       }},
      {"open-a-file-as-a-directory",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         return Words() << Said(OpenFile(in + "f", O_RDONLY | O_DIRECTORY)) << " "
                        << Said(OpenFile(in + "f/x", O_RDONLY)) << " "
                        << Said(OpenFile(in + "f/", O_RDONLY));
       }},
      {"open-does-not-follow",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         (void)symlink("f", (in + "l").c_str());
         return Words() << Said(OpenFile(in + "l", O_RDONLY | O_NOFOLLOW)) << " "
                        << Said(OpenFile(in + "l", O_PATH | O_NOFOLLOW));
       }},
      {"open-what-is-not-there",
       [](const std::string& in) -> std::string {
         return Words() << Said(OpenFile(in + "f", O_RDONLY)) << " "
                        << Said(OpenFile(in + "d/f", O_CREAT));
       }},
      {"open-a-temporary-file",
       [](const std::string& in) -> std::string { return Said(OpenFile(in, O_RDWR | O_TMPFILE)); }},
      {"open-without-atime",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         return Said(OpenFile(in + "f", O_RDONLY | O_NOATIME));
       }},
      {"open-synchronous",
       [](const std::string& in) -> std::string {
         const auto fd = OpenFile(in + "f", O_WRONLY | O_CREAT | O_SYNC);
         return Words() << Append(fd, "x") << " " << ContentOf(in + "f");
       }},
      {"open-direct-and-aligned",
       [](const std::string& in) -> std::string {
         const auto fd = OpenFile(in + "f", O_RDWR | O_CREAT | O_DIRECT);
         const std::unique_ptr<void, decltype(&std::free)> block(
             aligned_alloc(kBlockBytes, kBlockBytes), &std::free);
         std::memset(block.get(), 'd', kBlockBytes);
         std::string said = Words() << Said(fd) << " "
                                    << Said(pwrite(fd.get(), block.get(), kBlockBytes, 0));
         return Words() << said << " "
                        << std::to_string(pread(fd.get(), block.get(), kBlockBytes, 0));
       }},
      {"open-direct-and-not-aligned",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         const auto fd = OpenFile(in + "f", O_RDWR | O_DIRECT);
         return Said(pwrite(fd.get(), "abc", 3, 1));
       }},
      {"append-two-writers",
       [](const std::string& in) -> std::string {
         const auto one = OpenFile(in + "f", O_WRONLY | O_CREAT | O_APPEND);
         const auto two = OpenFile(in + "f", O_WRONLY | O_APPEND);
         for (const auto* fd : {&one, &two, &two, &one}) Append(*fd, fd == &one ? "1" : "2");
         return ContentOf(in + "f");
       }},
      {"append-ignores-an-offset",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f", "abc");
         const auto fd = OpenFile(in + "f", O_WRONLY | O_APPEND);
         return Words() << Said(pwrite(fd.get(), "x", 1, 0)) << " " << ContentOf(in + "f");
       }},
      {"append-after-a-truncation",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f", "abc");
         const auto fd = OpenFile(in + "f", O_WRONLY | O_APPEND);
         (void)truncate((in + "f").c_str(), 1);
         return Words() << Append(fd, "x") << " " << ContentOf(in + "f");
       }},
      {"append-by-one-call",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", "abc");
         iovec part{const_cast<char*>("x"), 1};
         return Words() << Said(pwritev2(fd.get(), &part, 1, 0, RWF_APPEND)) << " "
                        << ContentOf(in + "f");
       }},
      {"permission-of-a-strangers-file",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         (void)chmod((in + "f").c_str(), 0600);
         return AsUser(1000, [&] {
           return Words() << Said(OpenFile(in + "f", O_RDONLY)) << " "
                          << Said(OpenFile(in + "f", O_WRONLY)) << " "
                          << Said(access((in + "f").c_str(), F_OK));
         });
       }},
      {"permission-to-write-in-a-directory",
       [](const std::string& in) -> std::string {
         (void)mkdir((in + "d").c_str(), 0755);
         return AsUser(1000, [&] {
           return Words() << Said(OpenFile(in + "d/f", O_WRONLY | O_CREAT)) << " "
                          << Said(mkdir((in + "d/e").c_str(), 0755));
         });
       }},
      {"permission-to-search-a-directory",
       [](const std::string& in) -> std::string {
         (void)mkdir((in + "d").c_str(), 0755);
         MakeFile(in + "d/f");
         (void)chmod((in + "d").c_str(), 0644);
         return AsUser(1000, [&] {
           return Words() << Said(OpenFile(in + "d/f", O_RDONLY)) << " "
                          << Said(OpenFile(in + "d", O_RDONLY));
         });
       }},
      {"permission-in-a-sticky-directory",
       [](const std::string& in) -> std::string {
         (void)chmod(in.c_str(), 01777);
         MakeFile(in + "roots");
         std::string said = AsUser(1000, [&] {
           MakeFile(in + "mine");
           return Words() << Said(unlink((in + "roots").c_str())) << " "
                          << Said(rename((in + "mine").c_str(), (in + "roots").c_str()));
         });
         return Words() << said << " "
                        << AsUser(1001, [&] { return Said(unlink((in + "mine").c_str())); });
       }},
      {"permission-taken-from-an-open-file",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         (void)chmod((in + "f").c_str(), 0666);
         return AsUser(1000, [&] {
           const auto fd = OpenFile(in + "f", O_RDWR);
           return Words() << Said(fd) << " "
                          << AsUser(0, [&] { return Said(chmod((in + "f").c_str(), 0600)); }) << " "
                          << Said(pwrite(fd.get(), "x", 1, 0)) << " " << ContentOf(fd);
         });
       }},
  };
}

}  // namespace gantry::tests
