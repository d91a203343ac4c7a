// SPDX-License-Identifier: Apache-2.0
#include "host/worker/own_root.hpp"

#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include "host/base/fd.hpp"

namespace gantry::worker {
namespace {

namespace fs = std::filesystem;

// Where the new root is put together: there in every container, and nothing of it is needed inside.
constexpr char kWorkshop[] = "/sys";
constexpr std::array kFolders{"/usr", "/etc", "/lib", "/lib32", "/lib64", "/libx32"};
constexpr std::array kDevices{"/dev/null", "/dev/urandom", "/dev/random"};
// They hold what others are trusted with, often in files that everybody may read.
constexpr std::array kHidden{"/etc/gantry", "/etc/kubernetes", "/etc/ceph", "/etc/iscsi"};
constexpr std::array kOftenLinked{"/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf"};

// A name in the workshop, which is the current directory.
std::string Inside(const fs::path& path) { return path.relative_path().string(); }

bool IsBelow(const fs::path& path, const fs::path& folder) {
  const auto [end, rest] = std::mismatch(folder.begin(), folder.end(), path.begin(), path.end());
  return end == folder.end();
}
bool IsBelowAny(const fs::path& path, const std::vector<fs::path>& folders) {
  return std::any_of(folders.begin(), folders.end(),
                     [&](const fs::path& folder) { return IsBelow(path, folder); });
}

base::Status MakeFolders(const fs::path& path) {
  std::error_code error;
  fs::create_directories(Inside(path), error);
  if (error) return base::FailErrno(error.value(), "make " + path.string());
  return {};
}

base::Status Bind(const fs::path& path, unsigned long flags) {
  if (mount(path.c_str(), Inside(path).c_str(), nullptr, MS_BIND | flags, nullptr) != 0)
    return base::FailErrno(errno, "bind " + path.string());
  return {};
}

// Something to mount a file upon.
base::Status MakeFile(const fs::path& path) {
  GANTRY_TRY(MakeFolders(path.parent_path()));
  const int fd = open(Inside(path).c_str(), O_CREAT | O_RDONLY | O_CLOEXEC | O_NOFOLLOW, 0444);
  if (fd < 0) return base::FailErrno(errno, "make " + path.string());
  close(fd);
  return {};
}

// A folder as it is, a link (/lib on a merged /usr) as a link, what is not there not at all.
base::Status Copy(const fs::path& path) {
  std::error_code error;
  const auto status = fs::symlink_status(path, error);
  if (fs::is_symlink(status)) {
    const fs::path target = fs::read_symlink(path, error);
    if (symlink(target.c_str(), Inside(path).c_str()) != 0)
      return base::FailErrno(errno, "link " + path.string());
    return {};
  }
  if (!fs::is_directory(status)) return {};
  GANTRY_TRY(MakeFolders(path));
  return Bind(path, MS_REC);
}

base::Status Hide(const fs::path& path) {
  std::error_code error;
  if (!fs::is_directory(Inside(path), error)) return {};
  if (mount("gantry", Inside(path).c_str(), "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY,
            "size=4k,mode=0555") != 0)
    return base::FailErrno(errno, "hide " + path.string());
  return {};
}

base::Status HideFolders() {
  for (const char* hidden : kHidden) GANTRY_TRY(Hide(hidden));
  return {};
}

// Everything that is there so far, in one step (mount_setattr(2), Linux 5.12).
base::Status MakeReadOnly(const std::string& path, uint64_t propagation) {
  mount_attr attributes{};
  attributes.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
  attributes.propagation = propagation;
  if (syscall(SYS_mount_setattr, AT_FDCWD, path.c_str(), AT_RECURSIVE, &attributes,
              sizeof attributes) != 0)
    return base::FailErrno(errno, "make it read-only");
  return {};
}

// `plugin_folder` is an empty folder in it, unless it is there as a part of what is readable.
base::Status Fill(const OwnRoot& root, const fs::path& plugin_folder) {
  for (const auto& folder : root.readable) GANTRY_TRY(Copy(folder));
  GANTRY_TRY(HideFolders());
  if (!IsBelowAny(plugin_folder, root.readable)) GANTRY_TRY(MakeFolders(plugin_folder));
  for (const char* device : kDevices) GANTRY_TRY(MakeFile(device));
  GANTRY_TRY(MakeReadOnly(".", 0));
  // After it, because it makes all that is there nodev.
  for (const char* device : kDevices) GANTRY_TRY(Bind(device, 0));
  return {};
}

// The plugin's file alone, in a tmpfs over its folder: the tree may be one that was made before the
// plugin was known, and is read-only.
base::Status Place(const base::UniqueFd& file, const fs::path& plugin) {
  const std::string folder = Inside(plugin.parent_path());
  if (mount("gantry", folder.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "size=4k,mode=0755") != 0)
    return base::FailErrno(errno, "mount a tmpfs for the plugin");
  GANTRY_TRY(MakeFile(plugin));
  if (move_mount(file.get(), "", AT_FDCWD, Inside(plugin).c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0)
    return base::FailErrno(errno, "mount " + plugin.string());
  return MakeReadOnly(folder, MS_PRIVATE);
}

// With the new root as the current directory. `add` runs before it is entered.
template <class Addition>
base::Status MakeRoot(const OwnRoot& root, const fs::path& plugin_folder, const Addition& add) {
  if (unshare(CLONE_NEWNS) != 0) return base::FailErrno(errno, "unshare");
  // Slave, not private: what the host unmounts meanwhile goes here as well.
  if (mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0)
    return base::FailErrno(errno, "make the mounts slaves");
  if (mount("gantry", kWorkshop, "tmpfs", MS_NOSUID | MS_NOEXEC, "size=256k,mode=0755") != 0)
    return base::FailErrno(errno, "mount a tmpfs");
  if (chdir(kWorkshop) != 0) return base::FailErrno(errno, "enter the new root");
  auto made = Fill(root, plugin_folder);
  if (made) made = add();
  if (!made) {
    (void)chdir("/");
    umount2(kWorkshop, MNT_DETACH);
    return made;
  }
  // Old and new root at the same place, then the old one away from above it (pivot_root(2)).
  if (syscall(SYS_pivot_root, ".", ".") != 0) return base::FailErrno(errno, "pivot_root");
  if (umount2(".", MNT_DETACH) != 0) return base::FailErrno(errno, "leave the old root");
  if (chdir("/") != 0) return base::FailErrno(errno, "chdir /");
  return {};
}

// Root makes it, another uid walks through it.
class WorldReadable {
 public:
  WorldReadable() : mask_(umask(0022)) {}
  ~WorldReadable() { umask(mask_); }
  WorldReadable(const WorldReadable&) = delete;
  WorldReadable& operator=(const WorldReadable&) = delete;

 private:
  const mode_t mask_;
};

}  // namespace

OwnRoot ReadableFolders() {
  OwnRoot root;
  root.readable.assign(kFolders.begin(), kFolders.end());
  for (const char* name : kOftenLinked) {
    std::error_code error;
    const fs::path target = fs::canonical(name, error);
    if (error) continue;
    const fs::path folder = target.parent_path();
    if (!IsBelowAny(folder, root.readable) && folder != "/") root.readable.push_back(folder);
  }
#ifdef GANTRY_SANITIZED
  root.readable.emplace_back("/proc");  // the sanitizers read their own maps
#endif
  return root;
}

base::Status PrepareRoot(const fs::path& plugin_folder) {
  const WorldReadable modes;
  return MakeRoot(ReadableFolders(), plugin_folder, [] { return base::Status(); });
}

base::Status EnterOwnRoot(const OwnRoot& root, const fs::path& plugin, int prepared) {
  const WorldReadable modes;
  base::UniqueFd file;
  // In such a folder it is there already.
  const bool is_to_be_placed = !IsBelowAny(plugin, root.readable);
  if (is_to_be_placed) {
    file.Reset(open_tree(AT_FDCWD, plugin.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    if (!file) return base::FailErrno(errno, "open " + plugin.string());
  }
  const auto place = [&] { return is_to_be_placed ? Place(file, plugin) : base::Status(); };
  // Nothing has changed when it refuses, for want of CAP_SYS_CHROOT for one.
  if (prepared < 0 || setns(prepared, CLONE_NEWNS) != 0)
    return MakeRoot(root, plugin.parent_path(), place);
  if (unshare(CLONE_NEWNS) != 0) return base::FailErrno(errno, "unshare the prepared root");
  // One that was not there yet when the root was made shows through it.
  GANTRY_TRY(HideFolders());
  return place();
}

}  // namespace gantry::worker
