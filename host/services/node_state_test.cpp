// SPDX-License-Identifier: Apache-2.0
#include "host/services/node_state.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <optional>
#include <stdexcept>

#include "host/base/file.hpp"
#include "host/base/temp_dir.hpp"
#include "host/services/boot_id.hpp"

namespace gantry::services {
namespace {

using base::Code;

class NodeStateTest : public ::testing::Test {
 protected:
  NodeStateTest() : directory_(temp_.path() / "node") {
    auto state = FileNodeState::Open(directory_);
    if (!state) throw std::runtime_error(state.error().message);
    state_.emplace(std::move(*state));
  }
  static core::NodeVolume Volume(const std::string& id) {
    core::NodeVolume volume;
    volume.volume_id = id;
    volume.backend = "fast";
    volume.handle = "v1";
    volume.staging_path = "/var/lib/kubelet/\"x\"";
    volume.arguments = "fp";
    volume.stage_request = std::string("\0\x01\xff\n", 4);
    volume.boot_id = "boot";
    volume.staged = true;
    volume.readonly = true;
    volume.access_mode = 5;
    volume.targets = {{"/t1", true, "c1"}, {"/t2", false, "c2"}};
    return volume;
  }
  std::filesystem::path OnlyFile() { return directory_ / base::ListFiles(directory_)->at(0); }

  base::TempDir temp_;
  std::filesystem::path directory_;
  std::optional<FileNodeState> state_;
};

TEST_F(NodeStateTest, GivesBackTheDeviceOfABlockVolume) {
  core::NodeVolume volume = Volume("fast:v1");
  ASSERT_TRUE(state_->Save(volume));
  EXPECT_FALSE((*state_->Load("fast:v1"))->device);
  volume.device = core::NodeDevice{"iscsi:iqn.x:y-lun-0", "naa.6", 4096, true, true, true, "uuid"};
  ASSERT_TRUE(state_->Save(volume));
  EXPECT_EQ((*state_->Load("fast:v1"))->device, volume.device);
}

TEST_F(NodeStateTest, GivesBackEveryFieldThatWasSaved) {
  const core::NodeVolume volume = Volume("fast:v1");
  ASSERT_TRUE(state_->Save(volume));
  const auto loaded = state_->Load("fast:v1");
  ASSERT_TRUE(loaded) << loaded.error().message;
  ASSERT_TRUE(*loaded);
  const core::NodeVolume& got = **loaded;
  EXPECT_EQ(got.volume_id, volume.volume_id);
  EXPECT_EQ(got.backend, volume.backend);
  EXPECT_EQ(got.handle, volume.handle);
  EXPECT_EQ(got.staging_path, volume.staging_path);
  EXPECT_EQ(got.arguments, volume.arguments);
  EXPECT_EQ(got.stage_request, volume.stage_request);
  EXPECT_EQ(got.boot_id, volume.boot_id);
  EXPECT_EQ(got.staged, volume.staged);
  EXPECT_EQ(got.readonly, volume.readonly);
  EXPECT_EQ(got.access_mode, volume.access_mode);
  ASSERT_EQ(got.targets.size(), 2U);
  EXPECT_EQ(got.targets[0].path, "/t1");
  EXPECT_TRUE(got.targets[0].readonly);
  EXPECT_EQ(got.targets[1].capability, "c2");
}

TEST_F(NodeStateTest, BytesOfEveryLengthComeBack) {
  for (size_t length = 0; length < 8; ++length) {
    core::NodeVolume volume = Volume("v");
    volume.stage_request = std::string(length, '\0');
    ASSERT_TRUE(state_->Save(volume));
    EXPECT_EQ((*state_->Load("v"))->stage_request, volume.stage_request) << length;
  }
}

TEST_F(NodeStateTest, AVolumeThatIsNotThereIsNothingAndNoError) {
  const auto loaded = state_->Load("none");
  ASSERT_TRUE(loaded);
  EXPECT_FALSE(*loaded);
  EXPECT_TRUE(state_->Remove("none"));
}

TEST_F(NodeStateTest, ReplacesListsAndRemoves) {
  core::NodeVolume volume = Volume("a");
  ASSERT_TRUE(state_->Save(volume));
  volume.staged = false;
  ASSERT_TRUE(state_->Save(volume));
  ASSERT_TRUE(state_->Save(Volume("../../b/\xc3\xa4")));
  EXPECT_FALSE((*state_->Load("a"))->staged);
  EXPECT_EQ(state_->LoadAll()->size(), 2U);
  ASSERT_TRUE(state_->Remove("a"));
  ASSERT_EQ(state_->LoadAll()->size(), 1U);
  EXPECT_EQ(state_->LoadAll()->at(0).volume_id, "../../b/\xc3\xa4");
}

TEST_F(NodeStateTest, ADamagedFileIsAnErrorThatNamesIt) {
  ASSERT_TRUE(state_->Save(Volume("a")));
  const auto file = OnlyFile();
  for (const char* content :
       {"", "{", "[]", "{\"format\":1}", "{\"format\":2,\"volume_id\":\"a\"}", "\xff\xfe"}) {
    std::ofstream(file, std::ios::trunc) << content;
    const auto loaded = state_->Load("a");
    const auto all = state_->LoadAll();
    ASSERT_FALSE(loaded) << content;
    ASSERT_FALSE(all) << content;
    for (const auto& error : {loaded.error(), all.error()}) {
      EXPECT_EQ(error.code, Code::kDataLoss) << content;
      EXPECT_THAT(error.message, ::testing::HasSubstr(file.string()));
    }
  }
}

TEST_F(NodeStateTest, AFileUnderAnotherVolumesNameIsAnError) {
  ASSERT_TRUE(state_->Save(Volume("a")));
  const auto of_a = OnlyFile();
  ASSERT_TRUE(state_->Save(Volume("b")));
  std::string of_b;
  const auto files = base::ListFiles(directory_);
  for (const auto& name : files.value())
    if (directory_ / name != of_a) of_b = name;
  std::filesystem::rename(of_a, directory_ / of_b);
  EXPECT_EQ(state_->Load("b").error().code, Code::kDataLoss);
  EXPECT_EQ(state_->LoadAll().error().code, Code::kDataLoss);
}

TEST_F(NodeStateTest, AStrangeFileIsNotPassedOverButACrashsTemporaryIs) {
  ASSERT_TRUE(state_->Save(Volume("a")));
  std::ofstream(OnlyFile().string() + ".tmp") << "{ half";
  EXPECT_EQ(state_->LoadAll()->size(), 1U);
  EXPECT_EQ((*state_->Load("a"))->handle, "v1");
  std::ofstream(directory_ / "notes") << "mine";
  EXPECT_EQ(state_->LoadAll().error().code, Code::kDataLoss);
}

TEST_F(NodeStateTest, FilesAreTheHostsAlone) {
  ASSERT_TRUE(state_->Save(Volume("a")));
  struct stat status {};
  ASSERT_EQ(stat(OnlyFile().c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600U);
}

TEST_F(NodeStateTest, RefusesTextThatJsonCannotHold) {
  core::NodeVolume volume = Volume("a");
  volume.handle = "\xff";
  EXPECT_EQ(state_->Save(volume).error().code, Code::kInvalidArgument);
  EXPECT_TRUE(base::ListFiles(directory_)->empty());
}

TEST(BootId, IsAUuid) {
  const auto id = ReadBootId();
  ASSERT_TRUE(id) << id.error().message;
  EXPECT_EQ(id->size(), 36U);
  EXPECT_EQ(*id, *ReadBootId());
}

}  // namespace
}  // namespace gantry::services
