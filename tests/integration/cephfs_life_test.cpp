// SPDX-License-Identifier: Apache-2.0
// The whole life of a CephFS volume on two nodes, each with a gantryd of its own: a tree of everything
// that a filesystem can hold is written on the one, and compared, file by file, after a restore, a
// clone, an expansion and a move to the other, all of them mounted in user space by keys of their own.
//
// What the module's copy does not carry over (README.md) is left out of the
// comparison with a copy, and of no other.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <functional>

#include "tests/integration/cephfs_lab.hpp"
#include "tests/integration/cephfs_pod.hpp"

namespace gantry::itest {
namespace {

namespace fs = std::filesystem;
using ::testing::IsEmpty;
using tests::Random;
using tests::Text;

constexpr int kUid = 61131;
constexpr int64_t kBytes = 256 << 20;
constexpr size_t kFileBytesMax = 32 << 20;
constexpr size_t kDirectories = 12;
constexpr size_t kFilesOfADirectory = 24;
constexpr size_t kDifferencesShown = 10;

// --- what a path is -------------------------------------------------------------------------

struct Facts {
  mode_t mode = 0;  // type and all
  uid_t uid = 0;
  gid_t gid = 0;
  off_t size = 0;  // not of directories
  timespec mtime{};
  std::string first_name;  // of those that the file has
  std::string content;     // its hash, or where a link leads
  std::string attributes;

  bool is_special() const { return !S_ISREG(mode) && !S_ISDIR(mode) && !S_ISLNK(mode); }
};

enum class Detail {
  kWhole,
  kCopied,  // what the module's copy carries over
};

using Tree = std::map<std::string, std::string>;

std::string Show(const Facts& facts, Detail detail) {
  std::string text = "mode " + std::to_string(facts.mode) + " uid " + std::to_string(facts.uid) +
                     " gid " + std::to_string(facts.gid) + " size " + std::to_string(facts.size) +
                     " content " + facts.content + " mtime " + std::to_string(facts.mtime.tv_sec);
  if (detail == Detail::kWhole)
    text += "." + std::to_string(facts.mtime.tv_nsec) + " is " + facts.first_name + " with " +
            facts.attributes;
  return text;
}

std::string AttributesOf(const fs::path& path) {
  std::string names(4096, '\0');
  const ssize_t length = llistxattr(path.c_str(), names.data(), names.size());
  if (length < 0) return std::strerror(errno);
  std::map<std::string, std::string> all;
  for (size_t at = 0; at < static_cast<size_t>(length);) {
    const std::string name = names.data() + at;
    at += name.size() + 1;
    std::string value(4096, '\0');
    const ssize_t got = lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
    EXPECT_GE(got, 0) << path << " " << name;
    value.resize(got < 0 ? 0 : static_cast<size_t>(got));
    all[name] = value;
  }
  return testing::PrintToString(all);
}

Facts FactsOf(const fs::path& path, const std::string& name,
              std::map<ino_t, std::string>* first_names) {
  struct stat is {};
  EXPECT_EQ(lstat(path.c_str(), &is), 0) << path << ": " << std::strerror(errno);
  Facts facts{is.st_mode, is.st_uid, is.st_gid, 0, is.st_mtim, "", "", ""};
  if (!S_ISDIR(is.st_mode)) {
    facts.size = is.st_size;
    facts.first_name = first_names->emplace(is.st_ino, name).first->second;
  }
  if (S_ISLNK(is.st_mode)) facts.content = fs::read_symlink(path);
  if (S_ISREG(is.st_mode)) {
    const auto content = base::ReadFile(path, kFileBytesMax);
    EXPECT_TRUE(content) << path << ": " << content.error().message;
    facts.content = std::to_string(std::hash<std::string>()(content.value_or("")));
  }
  if (!S_ISLNK(is.st_mode)) facts.attributes = AttributesOf(path);
  return facts;
}

Tree TreeAt(const fs::path& top, Detail detail) {
  std::map<ino_t, std::string> first_names;
  std::set<fs::path> paths = {top};
  for (const auto& entry : fs::recursive_directory_iterator(top)) paths.insert(entry.path());
  Tree tree;
  for (const auto& path : paths) {
    const std::string name = path.lexically_relative(top);
    const Facts facts = FactsOf(path, name, &first_names);
    if (detail == Detail::kCopied && facts.is_special()) continue;
    tree[name] = Show(facts, detail);
  }
  return tree;
}

void ExpectSame(const Tree& expected, const Tree& found) {
  size_t differences = 0;
  const auto differs = [&](const std::string& name, const std::string& was, const std::string& is) {
    if (++differences <= kDifferencesShown)
      ADD_FAILURE() << name << "\n  was " << was << "\n  is  " << is;
  };
  for (const auto& [name, facts] : expected) {
    const auto at = found.find(name);
    if (at == found.end() || at->second != facts)
      differs(name, facts, at == found.end() ? "gone" : at->second);
  }
  for (const auto& [name, facts] : found)
    if (!expected.contains(name)) differs(name, "not there", facts);
  EXPECT_EQ(differences, 0U) << "of " << expected.size() << " paths";
}

// --- a tree of everything -------------------------------------------------------------------

void Done(int result, const fs::path& path) {
  EXPECT_EQ(result, 0) << path << ": " << std::strerror(errno);
}

void Write(const fs::path& path, const std::string& content, off_t at = 0) {
  const base::UniqueFd file(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  ASSERT_TRUE(file) << path << ": " << std::strerror(errno);
  EXPECT_EQ(pwrite(file.get(), content.data(), content.size(), at), ssize_t(content.size()));
}

void Attribute(const fs::path& path, const char* name, const std::string& value) {
  Done(lsetxattr(path.c_str(), name, value.data(), value.size(), 0), path);
}

// Owner, mode (which a change of owner may clear bits of) and time, each another one by `number`.
void Adorn(const fs::path& path, size_t number) {
  constexpr uid_t kOwners[] = {0, 1000, 65534, 2'000'000'000};
  constexpr gid_t kGroups[] = {0, 100, 1000, 65534, 2'000'000'001};
  constexpr mode_t kModes[] = {0644, 0600, 0755, 04755, 02755, 06711, 0400, 0000, 01666};
  constexpr mode_t kDirectoryModes[] = {0755, 01777, 02770, 0700};
  const bool is_link = fs::is_symlink(path);
  const bool is_directory = !is_link && fs::is_directory(path);
  Done(lchown(path.c_str(), kOwners[number % std::size(kOwners)],
              kGroups[number % std::size(kGroups)]),
       path);
  if (!is_link)
    Done(chmod(path.c_str(), is_directory ? kDirectoryModes[number % std::size(kDirectoryModes)]
                                          : kModes[number % std::size(kModes)]),
         path);
  const auto seconds = static_cast<time_t>(1'000'000'000 + 86'399 * number);
  const timespec times[] = {{seconds, 1},
                            {seconds, static_cast<long>(number * 1'234'567 % 999'999'999)}};
  Done(utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW), path);
}

void FillDirectory(const fs::path& directory, size_t number) {
  for (size_t i = 0; i < kFilesOfADirectory; ++i) {
    const size_t unique = number * kFilesOfADirectory + i;
    // From nothing to 20 KB, and around the page's size.
    const size_t bytes = i == 0 ? 0 : i < 4 ? 4094 + i : unique * 7919 % 20'000;
    const fs::path path = directory / ("file " + std::to_string(i));
    Write(path, Random(bytes, unique + 1));
    if (i % 3 == 0) Attribute(path, "user.gantry", Random(i * 10, unique));
    if (i % 8 == 0) Attribute(path, "trusted.gantry", "t" + std::to_string(i));
  }
}

void FillSpecialities(const fs::path& top, const fs::path& deep) {
  constexpr off_t kMiB = 1 << 20;
  // Objects have 4 MiB.
  Write(top / "large", Random(9 * kMiB + 1, 1));
  Write(top / "holes", "begin");
  Write(top / "holes", Random(70'000, 2), 5 * kMiB - 35'000);
  Write(top / "holes", "end", 12 * kMiB);
  Write(top / "cut", Random(kMiB, 3));
  Done(truncate((top / "cut").c_str(), 6 * kMiB), top / "cut");
  Write(top / std::string(255, 'n'), "a name as long as it may be");
  Write(top / "n\xc3\xa4me\nof two lines", "odd");
  fs::create_hard_link(top / "large", deep / "large too");
  fs::create_hard_link(top / "large", top / "zlarge");
  fs::create_symlink("large", top / "link");
  fs::create_symlink("../../nowhere", deep / "dangling");
  fs::create_symlink(std::string(900, 'x'), top / "long link");
  Done(mkfifo((top / "fifo").c_str(), 0600), top / "fifo");
  Done(mknod((top / "device").c_str(), S_IFCHR | 0600, makedev(1, 3)), top / "device");
}

void Fill(const fs::path& top) {
  std::vector<fs::path> directories;
  fs::path directory = top;
  for (size_t i = 0; i < kDirectories; ++i) {
    // Four deep, then beside each other.
    directory = i % 4 == 0 ? top / ("tree " + std::to_string(i)) : directory / std::to_string(i);
    fs::create_directory(directory);
    directories.push_back(directory);
    FillDirectory(directory, i);
    Attribute(directory, "user.directory", std::to_string(i));
  }
  fs::create_directory(top / "empty");
  FillSpecialities(top, directories[3]);
  size_t number = 0;
  std::set<fs::path> paths;
  for (const auto& entry : fs::recursive_directory_iterator(top)) paths.insert(entry.path());
  // What is in a directory before the directory, whose time it changes.
  for (auto path = paths.rbegin(); path != paths.rend(); ++path) Adorn(*path, ++number);
  Adorn(top, 1);
}

// So that it can be told what is of which moment.
void Change(const fs::path& top) {
  Write(top / "large", "changed", 4 << 20);
  Write(top / "added", "new");
  fs::remove_all(top / "tree 4");
  fs::rename(top / "tree 8", top / "tree moved");
  fs::remove(top / "zlarge");
  Done(chmod((top / "holes").c_str(), 0640), top / "holes");
  Attribute(top / "cut", "user.late", "late");
}

// --- its life -------------------------------------------------------------------------------

class CephfsLife : public testing::Test {
 protected:
  struct Node {
    std::string id;
    std::unique_ptr<lab::Gantryd> host;
    std::unique_ptr<CephController> controller;
  };

  void SetUp() override {
    cluster_ = CephCluster::Start();
    ASSERT_TRUE(cluster_);
    for (int i = 0; i < 2; ++i) {
      Node& node = nodes_[i];
      node.id = "node-" + std::to_string(i + 1);
      node.host = cluster_->StartHost(CephHost{.uid = kUid + i,
                                               .more = ", nodeKeys: perVolume",
                                               .role = "all",
                                               .timeout_seconds = 20,
                                               .node_id = node.id});
      ASSERT_TRUE(node.host);
      node.controller = std::make_unique<CephController>(*node.host);
    }
  }
  void TearDown() override {
    for (const Node& node : nodes_)
      if (HasFailure() && node.host != nullptr) std::cerr << node.host->Log();
  }

  csi::v1::Volume Make(csi::v1::CreateVolumeRequest request) {
    request.mutable_capacity_range()->set_required_bytes(kBytes);
    request.mutable_capacity_range()->set_limit_bytes(kBytes);
    const auto created = nodes_[0].controller->CreateInTheEnd(request);
    EXPECT_TRUE(created.ok()) << created.message();
    return created.reply.volume();
  }
  // A pod's volume on a node, until `work` is done.
  void On(Node& node, const csi::v1::Volume& volume,
          const std::function<void(const fs::path& top)>& work) {
    const auto published = node.controller->Publish(volume, node.id);
    ASSERT_TRUE(published.ok()) << published.message();
    CephPod pod(*node.host, volume, HandleOf(volume.volume_id()));
    const auto& context = published.reply.publish_context();
    pod.publish_context = {context.begin(), context.end()};
    pod.secrets = {{"sealKey", kSealKey}};
    ASSERT_GRPC_OK(pod.Start());
    work(pod.target());
    ASSERT_GRPC_OK(pod.End());
    const auto unpublished = node.controller->Unpublish(volume.volume_id(), node.id);
    ASSERT_TRUE(unpublished.ok()) << unpublished.message();
  }
  void ExpectOn(Node& node, const csi::v1::Volume& volume, const Tree& expected, Detail detail) {
    SCOPED_TRACE(node.id);
    ASSERT_NO_FATAL_FAILURE(
        On(node, volume, [&](const fs::path& top) { ExpectSame(expected, TreeAt(top, detail)); }));
  }

  std::unique_ptr<CephCluster> cluster_;
  Node nodes_[2];
};

TEST_F(CephfsLife, RestoreCloneExpansionAndMoveKeepEveryFileAsItWas) {
  const auto volume = Make(CreateRequest("pvc-source", {{"mode", "0777"}}));
  Tree first;
  Tree first_copied;
  ASSERT_NO_FATAL_FAILURE(On(nodes_[0], volume, [&](const fs::path& top) {
    Fill(top);
    first = TreeAt(top, Detail::kWhole);
    first_copied = TreeAt(top, Detail::kCopied);
  }));
  EXPECT_GT(first.size(), kDirectories * kFilesOfADirectory);
  const auto snapped = nodes_[0].controller->Snapshot("snap", volume.volume_id());
  ASSERT_TRUE(snapped.ok()) << snapped.message();
  const std::string snapshot = snapped.reply.snapshot().snapshot_id();

  Tree changed;
  Tree changed_copied;
  ASSERT_NO_FATAL_FAILURE(On(nodes_[0], volume, [&](const fs::path& top) {
    {
      SCOPED_TRACE("staged again");
      ExpectSame(first, TreeAt(top, Detail::kWhole));
    }
    Change(top);
    changed = TreeAt(top, Detail::kWhole);
    changed_copied = TreeAt(top, Detail::kCopied);
  }));
  EXPECT_NE(changed, first);

  const auto restored = Make(CreateFromRequest("pvc-restored", From::kSnapshot, snapshot));
  const auto cloned = Make(CreateFromRequest("pvc-cloned", From::kVolume, volume.volume_id()));
  auto reads =
      CreateFromRequest("pvc-backed", From::kSnapshot, snapshot, {{"backingSnapshot", "true"}});
  reads.mutable_volume_capabilities(0)->mutable_access_mode()->set_mode(
      csi::v1::VolumeCapability::AccessMode::MULTI_NODE_READER_ONLY);
  const auto backed = Make(reads);
  {
    SCOPED_TRACE("restored");
    ExpectOn(nodes_[0], restored, first_copied, Detail::kCopied);
  }
  {
    SCOPED_TRACE("cloned");
    ExpectOn(nodes_[1], cloned, changed_copied, Detail::kCopied);
  }
  {
    SCOPED_TRACE("the snapshot itself");
    ExpectOn(nodes_[1], backed, first, Detail::kWhole);
  }

  ASSERT_NO_FATAL_FAILURE(On(nodes_[0], volume, [&](const fs::path& top) {
    SCOPED_TRACE("expanded");
    const auto expanded = nodes_[0].controller->Expand(volume.volume_id(), 2 * kBytes);
    ASSERT_TRUE(expanded.ok()) << expanded.message();
    EXPECT_TRUE(WaitFor([&] {
      struct statvfs space {};
      return statvfs(top.c_str(), &space) == 0 && space.f_blocks * space.f_frsize == 2 * kBytes;
    }));
    ExpectSame(changed, TreeAt(top, Detail::kWhole));
    Write(top / "last words", "of the first node");
    changed = TreeAt(top, Detail::kWhole);
  }));
  ASSERT_NO_FATAL_FAILURE(On(nodes_[1], volume, [&](const fs::path& top) {
    SCOPED_TRACE("moved");
    ExpectSame(changed, TreeAt(top, Detail::kWhole));
    Write(top / "first words", "of the second node");
    changed = TreeAt(top, Detail::kWhole);
  }));
  {
    SCOPED_TRACE("moved back");
    ExpectOn(nodes_[0], volume, changed, Detail::kWhole);
  }

  for (const auto& each : {volume, cloned, restored, backed}) {
    const auto deleted = nodes_[1].controller->DeleteInTheEnd(each.volume_id());
    EXPECT_TRUE(deleted.ok()) << deleted.message();
  }
  EXPECT_TRUE(nodes_[1].controller->DeleteSnapshot(snapshot).ok());
  // The one whose snapshot outlived it goes when the module has purged it.
  EXPECT_TRUE(WaitFor([&] { return cluster_->Subvolumes().empty(); }));
  EXPECT_THAT(cluster_->Entities(), IsEmpty());
}

}  // namespace
}  // namespace gantry::itest
