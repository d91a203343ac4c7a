// SPDX-License-Identifier: Apache-2.0
// What the record protocol takes for granted of a file server, asked of a real one; and a count of
// the calls that a volume costs.
#include <gtest/gtest.h>

#include <filesystem>
#include <stdexcept>
#include <string>

#include "plugins/common/volumes.hpp"
#include "plugins/nfs/nfs_storage.hpp"
#include "tests/lab/ganesha.hpp"

namespace gantry::nfs {
namespace {

using namespace std::chrono_literals;
namespace fs = std::filesystem;

lab::Ganesha Started() {
  auto server = lab::Ganesha::Start();
  if (!server) throw std::runtime_error(server.error().message);
  return std::move(*server);
}

class NfsFences : public ::testing::Test {
 protected:
  NfsStorage Storage() {
    return {client_, kNoDeadline, 5s, [] { return false; }};
  }

  lab::Ganesha server_ = Started();
  Credentials root_ = *Credentials::Sys(0, 0, {});
  SyncClient client_{{"127.0.0.1", "/vol", server_.port(), server_.mount_port()}, root_};
  plugin::NodeId top_ =
      NfsStorage::IdOf(*client_.MountRoot(std::chrono::steady_clock::now() + 10s));
};

TEST_F(NfsFences, ADirectoryThatIsGoneTakesNothingAlsoWhenItIsMadeAgain) {
  NfsStorage storage = Storage();
  const plugin::Ownership ownership;
  const auto gone = storage.MakeDirectory(top_, "d", ownership);
  ASSERT_TRUE(gone);
  ASSERT_TRUE(storage.MakeDirectory(top_, "volume", ownership));
  const auto file = storage.CreateFile(top_, "file", "text");
  ASSERT_TRUE(file);
  ASSERT_TRUE(storage.RemoveDirectory(top_, "d"));
  for (const bool again : {false, true}) {
    if (again) {
      ASSERT_TRUE(storage.MakeDirectory(top_, "d", ownership));
    }
    EXPECT_TRUE(IsGone(storage.Rename(top_, "volume", gone->id, "data")));
    EXPECT_TRUE(IsGone(storage.Link(file->id, gone->id, "link")));
    EXPECT_TRUE(IsGone(storage.Remove(gone->id, "file")));
    EXPECT_TRUE(IsGone(storage.CreateFile(gone->id, "x", "")));
    EXPECT_TRUE(IsGone(storage.List(gone->id, 10)));
  }
  EXPECT_TRUE(fs::exists(server_.root() / "volume"));
  EXPECT_TRUE(fs::is_empty(server_.root() / "d"));
}

TEST_F(NfsFences, AFileWithoutANameIsNoSourceOfALink) {
  NfsStorage storage = Storage();
  const auto file = storage.CreateFile(top_, "file", "text");
  ASSERT_TRUE(file);
  ASSERT_TRUE(storage.Remove(top_, "file"));
  EXPECT_TRUE(IsGone(storage.Link(file->id, top_, "link")));
  const auto covered = storage.CreateFile(top_, "file", "text");
  const auto other = storage.CreateFile(top_, "other", "text");
  ASSERT_TRUE(covered && other);
  ASSERT_TRUE(storage.Rename(top_, "other", top_, "file"));
  EXPECT_TRUE(IsGone(storage.Link(covered->id, top_, "link")));
  EXPECT_FALSE(fs::exists(server_.root() / "link"));
}

TEST_F(NfsFences, ErrorsAreToldApart) {
  NfsStorage storage = Storage();
  const plugin::Ownership ownership;
  const auto full = storage.MakeDirectory(top_, "full", ownership);
  ASSERT_TRUE(full);
  ASSERT_TRUE(storage.MakeDirectory(top_, "empty", ownership));
  const auto file = storage.CreateFile(full->id, "file", "text");
  ASSERT_TRUE(file);
  using plugin::StoreFault;
  EXPECT_TRUE(FailedWith(storage.RemoveDirectory(top_, "full"), StoreFault::kNotEmpty));
  EXPECT_TRUE(FailedWith(storage.MakeDirectory(top_, "full", ownership), StoreFault::kExists));
  EXPECT_TRUE(FailedWith(storage.Link(file->id, full->id, "file"), StoreFault::kExists));
  EXPECT_TRUE(FailedWith(storage.Lookup(top_, "none"), StoreFault::kNotFound));
  EXPECT_TRUE(FailedWith(storage.Rename(top_, "none", top_, "x"), StoreFault::kNotFound));
  const auto onto_full = storage.Rename(top_, "empty", top_, "full");
  EXPECT_TRUE(FailedWith(onto_full, StoreFault::kNotEmpty) ||
              FailedWith(onto_full, StoreFault::kExists));
  EXPECT_EQ(*storage.ReadFile(file->id, 100), "text");
}

TEST_F(NfsFences, AVolumeCostsABoundedNumberOfCalls) {
  NfsStorage storage = Storage();
  const auto layout = plugin::OpenLayout(storage, top_);
  ASSERT_TRUE(layout);
  plugin::VolumeSpec spec;
  spec.handle = "h";
  spec.name = "n";
  spec.owner = "o";
  spec.path = plugin::ParseSubDir("n");
  int nonce = 0;
  plugin::Volumes volumes(storage, *layout, "o", [&] { return "n" + std::to_string(++nonce); });
  const uint64_t begin = storage.calls();
  ASSERT_TRUE(volumes.Create(spec));
  const uint64_t created = storage.calls();
  ASSERT_TRUE(volumes.Delete("h"));
  const uint64_t deleted = storage.calls();
  RecordProperty("CreateCalls", static_cast<int>(created - begin));
  RecordProperty("DeleteCalls", static_cast<int>(deleted - created));
  EXPECT_LE(created - begin, 16u);
  EXPECT_LE(deleted - created, 18u);
}

}  // namespace
}  // namespace gantry::nfs
