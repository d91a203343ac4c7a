// SPDX-License-Identifier: Apache-2.0
// Names: links, symbolic links, nodes, renames, removals, directories and their listing.
#include <dirent.h>
#include <linux/fs.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <set>

#include "tests/integration/posix_battery.hpp"

namespace gantry::tests {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { closedir(directory); }
};
using DirPtr = std::unique_ptr<DIR, CloseDirectory>;

std::string Number(uint64_t number) { return std::to_string(number); }
std::string Links(const std::string& path) { return Number(StatOf(path).st_nlink); }
std::string Rename(const std::string& from, const std::string& to, unsigned flags = 0) {
  return Said(renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags));
}
std::string Unlink(const std::string& path) { return Said(unlink(path.c_str())); }
std::string Mkdir(const std::string& path) { return Said(mkdir(path.c_str(), 0755)); }
// A directory whose only file was removed while it was open, and closed now.
void EmptyJustNow(const std::string& path) {
  Mkdir(path);
  const auto file = MakeFile(path + "/f");
  Unlink(path + "/f");
}

std::vector<std::string> NamesOf(const std::string& path) {
  std::vector<std::string> names;
  const DirPtr directory(opendir(path.c_str()));
  while (const dirent* entry = directory ? readdir(directory.get()) : nullptr)
    names.emplace_back(entry->d_name);
  return names;
}

std::string MadeAndFound(const std::string& in, const std::string& name) {
  const std::string said = Said(OpenFile(in + name, O_WRONLY | O_CREAT | O_EXCL));
  const auto names = NamesOf(in);
  return Words() << said
                 << (std::count(names.begin(), names.end(), name) == 1 ? " listed" : " not listed");
}

std::vector<PosixProbe> LinkProbes() {
  return {
      {"link-to-a-file",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         const std::string said = Said(link((in + "f").c_str(), (in + "l").c_str()));
         const bool same = StatOf(in + "f").st_ino == StatOf(in + "l").st_ino;
         return Words() << said << " " << Links(in + "f") << (same ? " same " : " other ")
                        << Unlink(in + "f") << " " << Links(in + "l");
       }},
      {"link-to-a-directory",
       [](const std::string& in) -> std::string {
         Mkdir(in + "d");
         return Said(link((in + "d").c_str(), (in + "l").c_str()));
       }},
      {"link-over-a-name",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f", "f");
         MakeFile(in + "l", "l");
         return Words() << Said(link((in + "f").c_str(), (in + "l").c_str())) << " "
                        << ContentOf(in + "l");
       }},
      {"link-to-a-symbolic-link",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         (void)symlink("f", (in + "s").c_str());
         const std::string said =
             Said(linkat(AT_FDCWD, (in + "s").c_str(), AT_FDCWD, (in + "l").c_str(), 0));
         return Words() << said << " " << Said(StatOf(in + "l")) << " "
                        << Said(linkat(AT_FDCWD, (in + "s").c_str(), AT_FDCWD, (in + "m").c_str(),
                                       AT_SYMLINK_FOLLOW))
                        << " " << Said(StatOf(in + "m"));
       }},
      {"link-to-an-open-file-without-a-name",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f");
         Unlink(in + "f");
         return Said(linkat(fd.get(), "", AT_FDCWD, (in + "l").c_str(), AT_EMPTY_PATH));
       }},
      {"symlink-and-readlink",
       [](const std::string& in) -> std::string {
         char target[16] = {};
         const std::string said = Said(symlink("a/../b", (in + "l").c_str()));
         const ssize_t got = readlink((in + "l").c_str(), target, sizeof target);
         return Words() << said << " " << target << " " << Number(static_cast<uint64_t>(got)) << " "
                        << Number(static_cast<uint64_t>(StatOf(in + "l").st_size)) << " "
                        << Said(StatOf(in + "l"));
       }},
      {"symlink-with-a-long-target",
       [](const std::string& in) -> std::string {
         std::string said;
         for (const size_t bytes : {255, 1023, 4000, 4095})
           said +=
               Words() << Said(symlink(std::string(bytes, 't').c_str(),
                                       (in + std::to_string(bytes)).c_str()))
                       << " "
                       << Number(static_cast<uint64_t>(StatOf(in + std::to_string(bytes)).st_size))
                       << " ";
         return said;
       }},
      {"symlink-to-nothing",
       [](const std::string& in) -> std::string { return Said(symlink("", (in + "l").c_str())); }},
      {"symlink-over-a-name",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         return Said(symlink("x", (in + "f").c_str()));
       }},
      {"symlink-in-a-circle",
       [](const std::string& in) -> std::string {
         (void)symlink("b", (in + "a").c_str());
         (void)symlink("a", (in + "b").c_str());
         return Said(OpenFile(in + "a", O_RDONLY));
       }},
      {"readlink-of-a-file",
       [](const std::string& in) -> std::string {
         char target[16];
         MakeFile(in + "f");
         return Said(readlink((in + "f").c_str(), target, sizeof target));
       }},
      {"mknod-of-a-fifo",
       [](const std::string& in) -> std::string {
         const std::string said = Said(mkfifo((in + "p").c_str(), 0640));
         const auto reader = OpenFile(in + "p", O_RDONLY | O_NONBLOCK);
         const auto writer = OpenFile(in + "p", O_WRONLY | O_NONBLOCK);
         char byte = 0;
         (void)!write(writer.get(), "x", 1);
         return Words() << said << " " << Said(StatOf(in + "p")) << " "
                        << Said(read(reader.get(), &byte, 1)) << byte;
       }},
      {"mknod-of-a-socket",
       [](const std::string& in) -> std::string {
         const base::UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
         // Relative, because a socket's name is short.
         const base::UniqueFd here(open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
         sockaddr_un address{};
         address.sun_family = AF_UNIX;
         std::strcpy(address.sun_path, "s");
         (void)!chdir(in.c_str());
         const std::string said =
             Said(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address)) + " " +
             Said(listen(fd.get(), 1));
         const base::UniqueFd peer(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
         const std::string joined =
             Said(connect(peer.get(), reinterpret_cast<sockaddr*>(&address), sizeof address));
         (void)!fchdir(here.get());
         return Words() << said << " " << joined << " " << Said(StatOf(in + "s"));
       }},
      {"mknod-of-a-device",
       [](const std::string& in) -> std::string {
         const std::string said = Said(mknod((in + "n").c_str(), S_IFCHR | 0666, makedev(1, 3)));
         const auto found = StatOf(in + "n");
         return Words() << said << " " << Said(found) << " " << Number(major(found.st_rdev)) << ":"
                        << Number(minor(found.st_rdev)) << " "
                        << Said(OpenFile(in + "n", O_WRONLY));
       }},
      {"mknod-of-a-file",
       [](const std::string& in) -> std::string {
         const std::string said = Said(mknod((in + "f").c_str(), S_IFREG | 0640, 0));
         return Words() << said << " " << Said(StatOf(in + "f")) << " "
                        << Said(mknod((in + "f").c_str(), S_IFREG | 0640, 0));
       }},
  };
}

std::vector<PosixProbe> RenameProbes() {
  return {
      {"rename-over-a-file",
       [](const std::string& in) -> std::string {
         MakeFile(in + "a", "a");
         MakeFile(in + "b", "b");
         return Words() << Rename(in + "a", in + "b") << " " << ContentOf(in + "b") << " "
                        << ContentOf(in + "a");
       }},
      {"rename-over-an-empty-directory",
       [](const std::string& in) -> std::string {
         Mkdir(in + "a");
         MakeFile(in + "a/f");
         Mkdir(in + "b");
         return Words() << Rename(in + "a", in + "b") << " " << ContentOf(in + "b/f");
       }},
      {"rename-over-a-full-directory",
       [](const std::string& in) -> std::string {
         Mkdir(in + "a");
         Mkdir(in + "b");
         MakeFile(in + "b/f");
         return Rename(in + "a", in + "b");
       }},
      {"rename-of-other-kinds",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         Mkdir(in + "d");
         return Words() << Rename(in + "f", in + "d") << " " << Rename(in + "d", in + "f") << " "
                        << Rename(in + "x", in + "f");
       }},
      {"rename-into-itself",
       [](const std::string& in) -> std::string {
         Mkdir(in + "d");
         return Rename(in + "d", in + "d/e");
       }},
      {"rename-of-two-links-of-a-file",
       [](const std::string& in) -> std::string {
         MakeFile(in + "a");
         (void)link((in + "a").c_str(), (in + "b").c_str());
         return Words() << Rename(in + "a", in + "b") << " " << Links(in + "a") << " "
                        << Links(in + "b");
       }},
      {"rename-of-a-directory-to-another-place",
       [](const std::string& in) -> std::string {
         Mkdir(in + "d");
         Mkdir(in + "from");
         Mkdir(in + "from/moved");
         const std::string said = Rename(in + "from/moved", in + "d/moved");
         return Words() << said << " " << Links(in + "d") << " " << Links(in + "from") << " "
                        << (StatOf(in + "d").st_ino == StatOf(in + "d/moved/..").st_ino ? "below"
                                                                                        : "lost");
       }},
      {"rename-without-replacing",
       [](const std::string& in) -> std::string {
         MakeFile(in + "a", "a");
         MakeFile(in + "b", "b");
         return Words() << Rename(in + "a", in + "b", RENAME_NOREPLACE) << " "
                        << Rename(in + "a", in + "c", RENAME_NOREPLACE) << " "
                        << ContentOf(in + "c");
       }},
      {"rename-exchanging",
       [](const std::string& in) -> std::string {
         MakeFile(in + "a", "a");
         MakeFile(in + "b", "b");
         return Words() << Rename(in + "a", in + "b", RENAME_EXCHANGE) << " "
                        << ContentOf(in + "a");
       }},
      {"rename-leaving-a-whiteout",
       [](const std::string& in) -> std::string {
         MakeFile(in + "a", "a");
         return Words() << Rename(in + "a", in + "b", RENAME_WHITEOUT) << " "
                        << Said(StatOf(in + "a"));
       }},
      {"rename-of-an-open-file",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "a", "a");
         const std::string said = Rename(in + "a", in + "b");
         return Words() << said << " " << Said(pwrite(fd.get(), "b", 1, 1)) << " "
                        << ContentOf(in + "b");
       }},
      {"rename-over-an-open-file",
       [](const std::string& in) -> std::string {
         MakeFile(in + "a", "new");
         const auto fd = MakeFile(in + "b", "old");
         const std::string said = Rename(in + "a", in + "b");
         return Words() << said << " " << ContentOf(fd) << " "
                        << Said(pwrite(fd.get(), "OLD", 3, 0)) << " " << ContentOf(fd) << " "
                        << ContentOf(in + "b");
       }},
      {"unlink-of-an-open-file",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f", "before");
         const std::string said = Words() << Unlink(in + "f") << " " << Said(StatOf(in + "f"));
         struct stat found {};
         const std::string stated = Said(fstat(fd.get(), &found)) + " " + Number(found.st_nlink);
         return Words() << said << " " << stated << " " << Said(pwrite(fd.get(), "after", 5, 6))
                        << " " << ContentOf(fd) << " " << Said(ftruncate(fd.get(), 0)) << " "
                        << Said(fsync(fd.get()));
       }},
      {"unlink-of-an-open-file-that-was-made-again",
       [](const std::string& in) -> std::string {
         const auto old = MakeFile(in + "f", "old");
         Unlink(in + "f");
         MakeFile(in + "f", "new");
         return Words() << ContentOf(old) << " " << ContentOf(in + "f");
       }},
      {"unlink-of-an-open-file-and-its-directory",
       [](const std::string& in) -> std::string {
         Mkdir(in + "d");
         const auto fd = MakeFile(in + "d/f");
         return Words() << Unlink(in + "d/f") << " " << Said(rmdir((in + "d").c_str())) << " "
                        << ContentOf(fd);
       }},
      {"unlink-of-one-link-of-an-open-file",
       [](const std::string& in) -> std::string {
         const auto fd = MakeFile(in + "f");
         (void)link((in + "f").c_str(), (in + "l").c_str());
         return Words() << Unlink(in + "f") << " " << ContentOf(fd) << " " << Unlink(in + "l")
                        << " " << ContentOf(fd);
       }},
      {"unlink-of-an-open-file-leaves-nothing",
       [](const std::string& in) -> std::string {
         {
           const auto fd = MakeFile(in + "f");
           Unlink(in + "f");
         }
         // Closing is not waited for.
         for (int i = 0; i < 1000 && NamesOf(in).size() > 2; ++i)
           (void)fsync(OpenFile(in, O_RDONLY).get());
         return Number(NamesOf(in).size());
       }},
      {"rmdir-after-the-last-close-of-a-removed-file",
       [](const std::string& in) -> std::string {
         Words words;
         for (int i = 0; i < 100; ++i) {
           EmptyJustNow(in + "d");
           words << Said(rmdir((in + "d").c_str()));
         }
         return words;
       }},
      {"rename-onto-a-directory-after-the-last-close-of-a-removed-file",
       [](const std::string& in) -> std::string {
         Words words;
         Mkdir(in + "from");
         for (int i = 0; i < 100; ++i) {
           EmptyJustNow(in + "d");
           words << Said(rename((in + "from").c_str(), (in + "d").c_str()));
           (void)rename((in + "d").c_str(), (in + "from").c_str());
         }
         return words;
       }},
      {"unlink-of-other-kinds",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         Mkdir(in + "d");
         Mkdir(in + "full");
         MakeFile(in + "full/f");
         return Words() << Unlink(in + "d") << " " << Unlink(in + "x") << " "
                        << Said(rmdir((in + "f").c_str())) << " "
                        << Said(rmdir((in + "full").c_str())) << " "
                        << Said(rmdir((in + "d/.").c_str())) << " "
                        << Said(rmdir((in + "x").c_str()));
       }},
  };
}

std::vector<PosixProbe> DirectoryProbes() {
  return {
      {"directory-links",
       [](const std::string& in) -> std::string {
         Mkdir(in + "d");
         return Words() << Links(in) << " " << Links(in + "d") << " " << Mkdir(in + "d");
       }},
      {"directory-with-a-mode",
       [](const std::string& in) -> std::string {
         const mode_t before = umask(0);
         const std::string said = Said(mkdir((in + "d").c_str(), 01777));
         umask(before);
         return Words() << said << " " << Said(StatOf(in + "d"));
       }},
      {"directory-of-a-group",
       [](const std::string& in) -> std::string {
         (void)!chown(in.c_str(), 0, 2000);
         (void)chmod(in.c_str(), 02777);
         MakeFile(in + "f");
         Mkdir(in + "d");
         return Words() << Number(StatOf(in + "f").st_gid) << " " << Said(StatOf(in + "f")) << " "
                        << Number(StatOf(in + "d").st_gid) << " " << Said(StatOf(in + "d"));
       }},
      {"directory-that-is-removed-while-it-is-open",
       [](const std::string& in) -> std::string {
         Mkdir(in + "d");
         const auto fd = OpenFile(in + "d", O_RDONLY | O_DIRECTORY);
         const std::string said = Said(rmdir((in + "d").c_str()));
         struct stat found {};
         return Words() << said << " " << Said(fstat(fd.get(), &found)) << " "
                        << Said(openat(fd.get(), "f", O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
       }},
      {"readdir-finds-all",
       [](const std::string& in) -> std::string {
         for (int i = 0; i < 500; ++i) MakeFile(in + "file " + std::to_string(i), "");
         const auto names = NamesOf(in);
         return Words() << Number(names.size()) << " "
                        << Number(std::set<std::string>(names.begin(), names.end()).size());
       }},
      {"readdir-tells-kinds-and-numbers",
       [](const std::string& in) -> std::string {
         MakeFile(in + "f");
         Mkdir(in + "d");
         (void)symlink("x", (in + "l").c_str());
         (void)mkfifo((in + "p").c_str(), 0644);
         std::set<std::string> kinds;
         const DirPtr directory(opendir(in.c_str()));
         while (const dirent* entry = readdir(directory.get())) {
           if (entry->d_name[0] == '.') continue;
           const bool same = StatOf(in + entry->d_name).st_ino == entry->d_ino;
           kinds.insert(entry->d_name + Number(entry->d_type) + (same ? "" : " other"));
         }
         std::string all;
         for (const auto& kind : kinds) all += kind + " ";
         return all;
       }},
      {"readdir-while-all-is-removed",
       [](const std::string& in) -> std::string {
         for (int i = 0; i < 500; ++i) MakeFile(in + std::to_string(i), "");
         const DirPtr directory(opendir(in.c_str()));
         int failed = 0;
         while (const dirent* entry = readdir(directory.get()))
           if (entry->d_name[0] != '.' && unlink((in + entry->d_name).c_str()) != 0) ++failed;
         return Words() << Number(static_cast<uint64_t>(failed)) << " "
                        << Number(NamesOf(in).size());
       }},
      {"readdir-while-others-are-made",
       [](const std::string& in) -> std::string {
         for (int i = 0; i < 300; ++i) MakeFile(in + "old" + std::to_string(i), "");
         const DirPtr directory(opendir(in.c_str()));
         std::multiset<std::string> old;
         int made = 0;
         while (const dirent* entry = readdir(directory.get())) {
           if (made < 300) MakeFile(in + "new" + std::to_string(made++), "");
           if (std::string(entry->d_name).starts_with("old")) old.insert(entry->d_name);
         }
         return Words() << Number(old.size()) << " "
                        << Number(std::set<std::string>(old.begin(), old.end()).size());
       }},
      {"readdir-from-a-remembered-place",
       [](const std::string& in) -> std::string {
         for (int i = 0; i < 200; ++i) MakeFile(in + std::to_string(i), "");
         const DirPtr directory(opendir(in.c_str()));
         for (int i = 0; i < 50; ++i) (void)readdir(directory.get());
         const long place = telldir(directory.get());
         const std::string next = readdir(directory.get())->d_name;
         while (readdir(directory.get()) != nullptr) {
         }
         seekdir(directory.get(), place);
         const bool same = next == readdir(directory.get())->d_name;
         rewinddir(directory.get());
         size_t all = 0;
         while (readdir(directory.get()) != nullptr) ++all;
         return Words() << std::string(same ? "same " : "other ") << Number(all);
       }},
      {"name-of-255-bytes",
       [](const std::string& in) -> std::string {
         return MadeAndFound(in, std::string(255, 'n'));
       }},
      {"name-of-256-bytes",
       [](const std::string& in) -> std::string {
         return MadeAndFound(in, std::string(256, 'n'));
       }},
      {"name-of-any-bytes",
       [](const std::string& in) -> std::string {
         return Words() << MadeAndFound(in, "new\nline") << " " << MadeAndFound(in, "\xff\xfe")
                        << " " << MadeAndFound(in, " blank ") << " "
                        << MadeAndFound(in, "back\\slash") << " " << MadeAndFound(in, "...") << " "
                        << MadeAndFound(in, "\xc3\xbc") << " " << MadeAndFound(in, "u\xcc\x88");
       }},
      {"name-in-both-cases",
       [](const std::string& in) -> std::string {
         return Words() << MadeAndFound(in, "a") << " " << MadeAndFound(in, "A");
       }},
      {"name-that-begins-with-nfs",
       [](const std::string& in) -> std::string {
         return Words() << MadeAndFound(in, ".nfs0123") << " " << Unlink(in + ".nfs0123");
       }},
      {"path-of-4096-bytes",
       [](const std::string& in) -> std::string {
         std::string path = in;
         while (path.size() < 4096) path += "./";
         return Said(OpenFile(path + "f", O_WRONLY | O_CREAT));
       }},
  };
}

}  // namespace

std::vector<PosixProbe> NameProbes() {
  std::vector<PosixProbe> all = LinkProbes();
  for (const auto& more : {RenameProbes(), DirectoryProbes()})
    all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace gantry::tests
