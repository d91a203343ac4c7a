// SPDX-License-Identifier: Apache-2.0
#include "host/services/broker.hpp"

#include <fcntl.h>
#include <gantry/host.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <memory>

#include "host/services/mount_namespace.hpp"

namespace gantry::services {
namespace {

namespace fs = std::filesystem;
using base::Code;
using std::chrono::milliseconds;
using ::testing::Contains;
using ::testing::HasSubstr;

constexpr const char* kStaging = "plugins/csi/v1/globalmount";
constexpr const char* kTarget = "pods/p1/mount";

base::TimePoint Soon() { return std::chrono::steady_clock::now() + milliseconds(60000); }

class BrokerTest : public ::testing::Test {
 protected:
  BrokerTest()
      : helpers_(HelperBinary(), kubelet_.directory().fd()),
        broker_({config_, kubelet_.directory(), helpers_, data_paths_,
                 [](const std::string&) { return fs::path("/store/nfs.so"); }}) {
    auto& backend = config_.backends["fast"];
    backend.name = "fast";
    backend.uid = 1234;
    backend.owner = "owner";
    backend.grants.fs_types = {"tmpfs"};
    backend.grants.mount_options = {"size=*", "mode=*"};
    backend.grants.userspace = true;
    config_.node_id = "node-1";
    fs::create_directories(kubelet_.Path(kStaging));
    fs::create_directories(kubelet_.Path("pods/p1"));
    fs::create_directories(kubelet_.Path("pods/p2"));
  }

  core::StageMount Tmpfs() {
    core::StageMount mount;
    mount.backend = "fast";
    mount.volume_id = "fast:v1";
    mount.staging_path = kubelet_.Path(kStaging);
    mount.source.set_kind(GANTRY_SOURCE_FILESYSTEM);
    mount.source.set_fs_type("tmpfs");
    mount.source.set_source("v1");
    mount.source.add_options("size=4m");
    return mount;
  }
  core::StageMount Userspace() {
    core::StageMount mount = Tmpfs();
    mount.source.Clear();
    mount.source.set_kind(GANTRY_SOURCE_USERSPACE);
    (*mount.source.mutable_parameters())["server"] = "nfs.example";
    return mount;
  }
  core::PublishMount To(const std::string& target, bool readonly = false) {
    return {kubelet_.Path(kStaging), kubelet_.Path(target), readonly, false, "fast:v1", {}};
  }
  base::Status Unstage() { return broker_.Unstage("fast:v1", kubelet_.Path(kStaging), {}, Soon()); }
  std::vector<MountEntry> At(const std::string& relative) {
    const auto mounts = ReadMountInfo();
    return MountsAt(mounts.value(), kubelet_.Path(relative));
  }
  core::VolumeUsage UsageAt(const std::string& relative) {
    const auto state = broker_.State(kubelet_.Path(relative), Soon());
    return state.value().usage.value();
  }
  static bool Write(const std::string& path) {
    std::ofstream file(path);
    file << "x";
    file.close();
    return !file.fail();
  }

  TestKubelet kubelet_;
  core::Config config_;
  TestDataPaths data_paths_;
  HelperRunner helpers_;
  MountBroker broker_;
};

void ExpectOk(const base::Status& status) {
  EXPECT_TRUE(status) << base::CodeName(status.error().code) << " " << status.error().message;
}
void ExpectFails(const base::Status& status, Code code, const std::string& text) {
  ASSERT_FALSE(status);
  EXPECT_EQ(base::CodeName(status.error().code), base::CodeName(code)) << status.error().message;
  EXPECT_THAT(status.error().message, HasSubstr(text));
}

TEST_F(BrokerTest, StagesAFilesystemNosuidAndNodevAndTheSameAgainIsTheSame) {
  ExpectOk(broker_.Stage(Tmpfs(), Soon()));
  ExpectOk(broker_.Stage(Tmpfs(), Soon()));
  const auto at = At(kStaging);
  ASSERT_EQ(at.size(), 1U);
  EXPECT_EQ(at[0].fs_type, "tmpfs");
  EXPECT_EQ(at[0].source, "v1");
  EXPECT_THAT(at[0].options, Contains("nosuid"));
  EXPECT_THAT(at[0].options, Contains("nodev"));
  EXPECT_THAT(at[0].super_options, Contains("size=4096k"));
  EXPECT_TRUE(Write(kubelet_.Path(kStaging) + "/file"));
}

TEST_F(BrokerTest, MakesAMissingStagingDirectoryButNotItsParents) {
  core::StageMount mount = Tmpfs();
  mount.staging_path = kubelet_.Path("plugins/new");
  ExpectOk(broker_.Stage(mount, Soon()));
  EXPECT_EQ(At("plugins/new").size(), 1U);
  mount.staging_path = kubelet_.Path("nowhere/new");
  ExpectFails(broker_.Stage(mount, Soon()), Code::kFailedPrecondition, "nowhere");
  EXPECT_FALSE(fs::exists(kubelet_.Path("nowhere")));
}

TEST_F(BrokerTest, RefusesToStageOverAnotherMountAndNamesIt) {
  ASSERT_EQ(mount("stranger", kubelet_.Path(kStaging).c_str(), "tmpfs", 0, nullptr), 0);
  ExpectFails(broker_.Stage(Tmpfs(), Soon()), Code::kFailedPrecondition, "tmpfs \"stranger\"");
  EXPECT_EQ(At(kStaging).size(), 1U);
}

TEST_F(BrokerTest, StagesReadOnlyAndRefusesToTurnItWritable) {
  core::StageMount mount = Tmpfs();
  mount.readonly = true;
  ExpectOk(broker_.Stage(mount, Soon()));
  ExpectOk(broker_.Stage(mount, Soon()));
  EXPECT_FALSE(Write(kubelet_.Path(kStaging) + "/file"));
  ExpectFails(broker_.Stage(Tmpfs(), Soon()), Code::kFailedPrecondition, "read-only already");
}

TEST_F(BrokerTest, GivesTheVolumeToTheMountGroup) {
  core::StageMount mount = Tmpfs();
  mount.mount_group = "4321";
  ExpectOk(broker_.Stage(mount, Soon()));
  struct stat status {};
  ASSERT_EQ(stat(mount.staging_path.c_str(), &status), 0);
  EXPECT_EQ(status.st_gid, 4321U);
  EXPECT_EQ(status.st_mode & 02070U, 02070U);
  ASSERT_TRUE(Write(mount.staging_path + "/file"));
  ASSERT_EQ(stat((mount.staging_path + "/file").c_str(), &status), 0);
  EXPECT_EQ(status.st_gid, 4321U);
}

TEST_F(BrokerTest, AFailedMountLeavesNothing) {
  core::StageMount mount = Tmpfs();
  mount.source.add_options("size=lots");
  ExpectFails(broker_.Stage(mount, Soon()), Code::kInvalidArgument, "option size of tmpfs");
  EXPECT_TRUE(At(kStaging).empty());
}

TEST_F(BrokerTest, UnstagesLeavesTheDirectoryAndTwiceIsOnce) {
  ExpectOk(broker_.Stage(Tmpfs(), Soon()));
  ExpectOk(Unstage());
  ExpectOk(Unstage());
  EXPECT_TRUE(At(kStaging).empty());
  EXPECT_TRUE(fs::is_directory(kubelet_.Path(kStaging)));
}

TEST_F(BrokerTest, UnstageOfAVolumeInUseIsRefusedAndKeepsIt) {
  ExpectOk(broker_.Stage(Tmpfs(), Soon()));
  const base::UniqueFd used(
      open((kubelet_.Path(kStaging) + "/f").c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_TRUE(used);
  ExpectFails(Unstage(), Code::kFailedPrecondition, "busy");
  EXPECT_EQ(At(kStaging).size(), 1U);
}

TEST_F(BrokerTest, UnstageNamesAMountBelow) {
  ExpectOk(broker_.Stage(Tmpfs(), Soon()));
  fs::create_directory(kubelet_.Path(kStaging) + "/sub");
  ASSERT_EQ(mount("inner", (kubelet_.Path(kStaging) + "/sub").c_str(), "tmpfs", 0, nullptr), 0);
  ExpectFails(Unstage(), Code::kFailedPrecondition, "tmpfs \"inner\"");
}

TEST_F(BrokerTest, PublishesTheStagedVolumeAndTheSameAgainIsTheSame) {
  ExpectOk(broker_.Stage(Tmpfs(), Soon()));
  ExpectOk(broker_.Publish(To(kTarget), Soon()));
  ExpectOk(broker_.Publish(To(kTarget), Soon()));
  EXPECT_EQ(At(kTarget).size(), 1U);
  EXPECT_THAT(At(kTarget)[0].options, Contains("nosuid"));
  ASSERT_TRUE(Write(kubelet_.Path(kTarget) + "/file"));
  EXPECT_TRUE(fs::exists(kubelet_.Path(kStaging) + "/file"));
}

// What `id -u` says as another user than root, from a copy of id that belongs to root and is setuid.
std::string UserOfSetuidId(const std::string& directory) {
  const std::string file = directory + "/id";
  fs::copy_file("/usr/bin/id", file, fs::copy_options::overwrite_existing);
  EXPECT_EQ(chmod(file.c_str(), 04755), 0);
  EXPECT_EQ(chmod(directory.c_str(), 0755), 0);
  const std::string command = "setpriv --reuid=1234 --regid=1234 --clear-groups " + file + " -u";
  const std::unique_ptr<FILE, int (*)(FILE*)> pipe(popen(command.c_str(), "re"), pclose);
  std::string said(64, '\0');
  said.resize(std::fread(said.data(), 1, said.size(), pipe.get()));
  return said;
}

TEST_F(BrokerTest, ASetuidFileOfAVolumeMakesNobodyRoot) {
  fs::permissions(kubelet_.outside(), fs::perms(0755));
  ExpectOk(broker_.Stage(Tmpfs(), Soon()));
  ExpectOk(broker_.Publish(To(kTarget), Soon()));
  ExpectOk(broker_.Publish(To("pods/p2/mount"), Soon()));
  // On the directory around it, which is mounted as tests mount, the same file does.
  EXPECT_EQ(UserOfSetuidId(kubelet_.Path("pods/p1")), "0\n");
  EXPECT_EQ(UserOfSetuidId(kubelet_.Path(kTarget)), "1234\n");
  EXPECT_EQ(UserOfSetuidId(kubelet_.Path("pods/p2/mount")), "1234\n");
  ExpectOk(broker_.Unpublish(kubelet_.Path("pods/p2/mount"), Soon()));
  ExpectOk(broker_.Publish(To("pods/p2/mount", /*readonly=*/true), Soon()));
  for (const char* word : {"nosuid", "nodev", "ro"})
    EXPECT_THAT(At("pods/p2/mount").at(0).options, Contains(word));
}

TEST_F(BrokerTest, AMountThatSomebodyMadeUnsafeIsNeitherPublishedNorTakenForOurs) {
  ExpectOk(broker_.Stage(Tmpfs(), Soon()));
  ExpectOk(broker_.Publish(To(kTarget), Soon()));
  const auto remount = [&](const std::string& relative, unsigned long flags) {
    ASSERT_EQ(mount(nullptr, kubelet_.Path(relative).c_str(), nullptr, MS_REMOUNT | MS_BIND | flags,
                    nullptr),
              0);
  };
  remount(kTarget, MS_NODEV);
  ExpectFails(broker_.Publish(To(kTarget), Soon()), Code::kFailedPrecondition, "without nosuid");
  remount(kStaging, MS_NOSUID);
  ExpectFails(broker_.Stage(Tmpfs(), Soon()), Code::kFailedPrecondition, "without nodev");
  ExpectFails(broker_.Publish(To("pods/p2/mount"), Soon()), Code::kFailedPrecondition,
              "without nodev");
  EXPECT_TRUE(At("pods/p2/mount").empty());
}

TEST_F(BrokerTest, PublishesReadOnlyWhileTheStagedVolumeStaysWritable) {
  ExpectOk(broker_.Stage(Tmpfs(), Soon()));
  ExpectOk(broker_.Publish(To(kTarget, true), Soon()));
  EXPECT_FALSE(Write(kubelet_.Path(kTarget) + "/file"));
  EXPECT_TRUE(Write(kubelet_.Path(kStaging) + "/file"));
  const auto state = broker_.State(kubelet_.Path(kTarget), Soon());
  ASSERT_TRUE(state);
  EXPECT_TRUE(state->mounted);
  EXPECT_TRUE(state->readonly);
  ExpectFails(broker_.Publish(To(kTarget, false), Soon()), Code::kAlreadyExists, "read-only");
  ExpectOk(broker_.Publish(To("pods/p2/mount", false), Soon()));
  EXPECT_TRUE(Write(kubelet_.Path("pods/p2/mount") + "/file"));
}

TEST_F(BrokerTest, PublishingAReadOnlyStagedVolumeIsReadOnlyAndTheSameAgainIsTheSame) {
  core::StageMount mount = Tmpfs();
  mount.readonly = true;
  ExpectOk(broker_.Stage(mount, Soon()));
  ExpectOk(broker_.Publish(To(kTarget), Soon()));
  ExpectOk(broker_.Publish(To(kTarget), Soon()));
  EXPECT_FALSE(Write(kubelet_.Path(kTarget) + "/file"));
}

TEST_F(BrokerTest, NeverPublishesTheNodesOwnDisk) {
  ExpectFails(broker_.Publish(To(kTarget), Soon()), Code::kFailedPrecondition, "nothing is staged");
  EXPECT_FALSE(fs::exists(kubelet_.Path(kTarget)));
}

TEST_F(BrokerTest, PublishMakesTheTargetButNotItsParents) {
  ExpectOk(broker_.Stage(Tmpfs(), Soon()));
  ExpectFails(broker_.Publish(To("pods/p9/mount"), Soon()), Code::kFailedPrecondition, "pods/p9");
  EXPECT_FALSE(fs::exists(kubelet_.Path("pods/p9")));
}

TEST_F(BrokerTest, PublishRefusesATargetWhereSomethingElseIsMounted) {
  ExpectOk(broker_.Stage(Tmpfs(), Soon()));
  fs::create_directory(kubelet_.Path(kTarget));
  ASSERT_EQ(mount("stranger", kubelet_.Path(kTarget).c_str(), "tmpfs", 0, nullptr), 0);
  ExpectFails(broker_.Publish(To(kTarget), Soon()), Code::kFailedPrecondition, "\"stranger\"");
}

TEST_F(BrokerTest, APublishedVolumeReachesThoseWhoShareTheKubeletDirectory) {
  const fs::path peer = kubelet_.outside() / "peer";
  fs::create_directory(peer);
  ASSERT_EQ(mount(kubelet_.path().c_str(), peer.c_str(), nullptr, MS_BIND | MS_REC, nullptr), 0);
  ASSERT_EQ(mount(nullptr, peer.c_str(), nullptr, MS_SLAVE | MS_REC, nullptr), 0);
  ExpectOk(broker_.Stage(Tmpfs(), Soon()));
  ExpectOk(broker_.Publish(To(kTarget), Soon()));
  const auto published = ReadMountInfo();
  EXPECT_EQ(MountsAt(*published, (peer / kTarget).string()).size(), 1U);
  ExpectOk(broker_.Unpublish(kubelet_.Path(kTarget), Soon()));
  const auto unpublished = ReadMountInfo();
  EXPECT_TRUE(MountsAt(*unpublished, (peer / kTarget).string()).empty());
  ASSERT_EQ(umount2(peer.c_str(), MNT_DETACH), 0);
}

TEST_F(BrokerTest, PublishesABlockVolumeAsAFile) {
  const std::string device = kubelet_.Path("plugins/device");
  ASSERT_TRUE(Write(device));
  ASSERT_EQ(mount(device.c_str(), device.c_str(), nullptr, MS_BIND, nullptr), 0);
  core::PublishMount mount{device, kubelet_.Path(kTarget), false, true, "fast:v1", {}};
  ExpectOk(broker_.Publish(mount, Soon()));
  ExpectOk(broker_.Publish(mount, Soon()));
  EXPECT_TRUE(fs::is_regular_file(kubelet_.Path(kTarget)));
  EXPECT_EQ(fs::file_size(kubelet_.Path(kTarget)), 1U);
  ExpectOk(broker_.Unpublish(kubelet_.Path(kTarget), Soon()));
  EXPECT_FALSE(fs::exists(kubelet_.Path(kTarget)));
  EXPECT_EQ(fs::file_size(device), 1U);
}

TEST_F(BrokerTest, UnpublishTakesDownWhatIsStackedRemovesTheTargetAndTwiceIsOnce) {
  ExpectOk(broker_.Stage(Tmpfs(), Soon()));
  ExpectOk(broker_.Publish(To(kTarget), Soon()));
  ASSERT_EQ(mount(kubelet_.Path(kStaging).c_str(), kubelet_.Path(kTarget).c_str(), nullptr, MS_BIND,
                  nullptr),
            0);
  ASSERT_EQ(At(kTarget).size(), 2U);
  ExpectOk(broker_.Unpublish(kubelet_.Path(kTarget), Soon()));
  EXPECT_TRUE(At(kTarget).empty());
  EXPECT_FALSE(fs::exists(kubelet_.Path(kTarget)));
  EXPECT_EQ(At(kStaging).size(), 1U);
  ExpectOk(broker_.Unpublish(kubelet_.Path(kTarget), Soon()));
  ExpectOk(broker_.Unpublish(kubelet_.Path("pods/gone/mount"), Soon()));
}

TEST_F(BrokerTest, UnpublishNeverDeletesFiles) {
  fs::create_directory(kubelet_.Path(kTarget));
  ASSERT_TRUE(Write(kubelet_.Path(kTarget) + "/precious"));
  ExpectFails(broker_.Unpublish(kubelet_.Path(kTarget), Soon()), Code::kFailedPrecondition,
              kTarget);
  EXPECT_TRUE(fs::exists(kubelet_.Path(kTarget) + "/precious"));
  ASSERT_TRUE(Write(kubelet_.Path("pods/p2/mount")));
  ExpectFails(broker_.Unpublish(kubelet_.Path("pods/p2/mount"), Soon()), Code::kFailedPrecondition,
              "empty");
  EXPECT_TRUE(fs::exists(kubelet_.Path("pods/p2/mount")));
}

TEST_F(BrokerTest, ASymlinkPlantedOnTheWayLeadsNowhere) {
  ExpectOk(broker_.Stage(Tmpfs(), Soon()));
  const fs::path victim = kubelet_.outside() / "victim";
  fs::create_directories(victim / "mount");
  fs::remove(kubelet_.Path("pods/p1"));
  fs::create_symlink(victim, kubelet_.Path("pods/p1"));
  ExpectFails(broker_.Publish(To(kTarget), Soon()), Code::kInvalidArgument, "symbolic links");
  ExpectFails(broker_.Unpublish(kubelet_.Path(kTarget), Soon()), Code::kInvalidArgument,
              "symbolic links");
  EXPECT_TRUE(fs::is_directory(victim / "mount"));
  const auto mounts = ReadMountInfo();
  EXPECT_TRUE(MountsBelow(*mounts, victim.string()).empty());

  core::StageMount mount = Tmpfs();
  fs::create_symlink(victim, kubelet_.Path("plugins/link"));
  mount.staging_path = kubelet_.Path("plugins/link");
  ExpectFails(broker_.Stage(mount, Soon()), Code::kInvalidArgument, "symbolic links");
  ExpectFails(broker_.Unpublish(kubelet_.Path("plugins/link"), Soon()), Code::kFailedPrecondition,
              "plugins/link");
  EXPECT_TRUE(fs::is_symlink(kubelet_.Path("plugins/link")));
}

TEST_F(BrokerTest, PathsOutsideAreRefused) {
  core::StageMount mount = Tmpfs();
  mount.staging_path = kubelet_.Path("../victim");
  ExpectFails(broker_.Stage(mount, Soon()), Code::kInvalidArgument, "..");
  ExpectFails(broker_.Unpublish("/etc", Soon()), Code::kInvalidArgument, "kubelet_directory");
  EXPECT_EQ(broker_.State("some/path", Soon()).error().code, Code::kNotFound);
  EXPECT_FALSE(*broker_.IsMounted("/"));
}

TEST_F(BrokerTest, AKubeletDirectoryMayBeASymlinkItself) {
  const fs::path link = kubelet_.outside() / "link";
  fs::create_symlink("kubelet", link);
  const auto directory = KubeletDirectory::Open(link);
  ASSERT_TRUE(directory);
  MountBroker broker({config_, *directory, helpers_, data_paths_, nullptr});
  core::StageMount mount = Tmpfs();
  mount.staging_path = (link / kStaging).string();
  ExpectOk(broker.Stage(mount, Soon()));
  ExpectOk(broker.Stage(mount, Soon()));
  EXPECT_EQ(At(kStaging).size(), 1U);
  EXPECT_TRUE(broker.State(mount.staging_path, Soon())->mounted);
  ExpectOk(broker.Unstage("fast:v1", mount.staging_path, {}, Soon()));
  EXPECT_TRUE(At(kStaging).empty());
}

TEST_F(BrokerTest, MeasuresUsageAndSaysWhereNothingIsMounted) {
  ExpectOk(broker_.Stage(Tmpfs(), Soon()));
  const auto usage = UsageAt(kStaging);
  EXPECT_EQ(usage.total_bytes, 4U << 20);
  EXPECT_EQ(usage.used_bytes + usage.available_bytes, usage.total_bytes);
  EXPECT_GT(usage.total_inodes, 0U);
  EXPECT_FALSE(broker_.State(kubelet_.Path("pods"), Soon())->mounted);
  EXPECT_FALSE(*broker_.IsMounted(kubelet_.Path("pods")));
  EXPECT_TRUE(*broker_.IsMounted(kubelet_.Path(kStaging)));
}

TEST_F(BrokerTest, StagesAUserspaceVolumeWithItsDataPath) {
  core::StageMount mount = Userspace();
  mount.mount_group = "77";
  ExpectOk(broker_.Stage(mount, Soon()));
  ExpectOk(broker_.Stage(mount, Soon()));
  EXPECT_EQ(data_paths_.starts, 1);
  EXPECT_EQ(data_paths_.last_spec.volume_id, "fast:v1");
  EXPECT_EQ(data_paths_.last_spec.plugin, "/store/nfs.so");
  EXPECT_EQ(data_paths_.last_spec.uid, 1234U);
  EXPECT_EQ(data_paths_.last_spec.node_id, "node-1");
  EXPECT_EQ(data_paths_.last_spec.mount_group, "77");
  EXPECT_EQ(data_paths_.last_spec.parameters.at("server"), "nfs.example");
  const auto at = At(kStaging);
  ASSERT_EQ(at.size(), 1U);
  EXPECT_EQ(at[0].fs_type, "fuse.gantry");
  EXPECT_EQ(at[0].source, "fast:v1");
  EXPECT_THAT(at[0].options, Contains("nosuid"));
  EXPECT_THAT(at[0].options, Contains("nodev"));
  const auto usage = UsageAt(kStaging);
  EXPECT_EQ(usage.total_bytes, 1000U * 4096);
  EXPECT_EQ(usage.used_bytes, 400U * 4096);
  EXPECT_EQ(usage.available_bytes, 500U * 4096);
  EXPECT_EQ(usage.used_inodes, 10U);
  bool unmounted_first = false;
  data_paths_.on_stop = [&] { unmounted_first = At(kStaging).empty(); };
  ExpectOk(Unstage());
  EXPECT_TRUE(unmounted_first);
}

TEST_F(BrokerTest, UserspaceNeedsItsGrant) {
  config_.backends["fast"].grants.userspace = false;
  ExpectFails(broker_.Stage(Userspace(), Soon()), Code::kPermissionDenied,
              "backends.fast.grants.userspace");
  EXPECT_EQ(data_paths_.starts, 0);
}

TEST_F(BrokerTest, ADataPathThatDoesNotStartLeavesNothingMounted) {
  data_paths_.start_error = base::Error{Code::kUnavailable, "no such export"};
  ExpectFails(broker_.Stage(Userspace(), Soon()), Code::kUnavailable, "no such export");
  EXPECT_TRUE(At(kStaging).empty());
  data_paths_.start_error.reset();
  ExpectOk(broker_.Stage(Userspace(), Soon()));
}

TEST_F(BrokerTest, ADeadStagingMountIsTakenDownAndMadeAnew) {
  ExpectOk(broker_.Stage(Userspace(), Soon()));
  data_paths_.Lose("fast:v1");
  const auto state = broker_.State(kubelet_.Path(kStaging), Soon());
  ASSERT_TRUE(state) << state.error().message;
  ASSERT_TRUE(state->fault);
  EXPECT_THAT(*state->fault, HasSubstr("not connected"));
  EXPECT_TRUE(state->gone);
  EXPECT_FALSE(state->usage);  // nobody had measured it before
  ExpectFails(broker_.Publish(To(kTarget), Soon()), Code::kUnavailable, "does not answer");
  EXPECT_FALSE(fs::exists(kubelet_.Path(kTarget)));
  ExpectOk(broker_.Stage(Userspace(), Soon()));
  EXPECT_EQ(data_paths_.starts, 2);
  EXPECT_EQ(At(kStaging).size(), 1U);
  EXPECT_FALSE(broker_.State(kubelet_.Path(kStaging), Soon())->fault);
}

TEST_F(BrokerTest, ADeadTargetIsReplacedByTheVolumeStagedAnew) {
  ExpectOk(broker_.Stage(Userspace(), Soon()));
  ExpectOk(broker_.Publish(To(kTarget), Soon()));
  data_paths_.Lose("fast:v1");
  ExpectOk(broker_.Stage(Userspace(), Soon()));
  EXPECT_TRUE(broker_.State(kubelet_.Path(kTarget), Soon())->fault);
  ExpectOk(broker_.Publish(To(kTarget), Soon()));
  EXPECT_EQ(At(kTarget).size(), 1U);
  EXPECT_FALSE(broker_.State(kubelet_.Path(kTarget), Soon())->fault);
  ExpectOk(broker_.Unpublish(kubelet_.Path(kTarget), Soon()));
}

TEST_F(BrokerTest, ASilentVolumeThatPodsUseIsNotTakenDown) {
  ExpectOk(broker_.Stage(Userspace(), Soon()));
  ExpectOk(broker_.Publish(To(kTarget), Soon()));
  data_paths_.Server("fast:v1")->Set(TestFuseServer::Mode::kSwallow);
  ExpectFails(broker_.Stage(Userspace(), Soon()), Code::kUnavailable, kTarget);
  EXPECT_EQ(data_paths_.starts, 1);
  EXPECT_EQ(At(kStaging).size(), 1U);
  EXPECT_EQ(At(kTarget).size(), 1U);
}

TEST_F(BrokerTest, ALiveVolumeIsNotServedTwiceWhenItsStagingMountWasTakenAway) {
  ExpectOk(broker_.Stage(Userspace(), Soon()));
  ExpectOk(broker_.Publish(To(kTarget), Soon()));
  ASSERT_EQ(umount2(kubelet_.Path(kStaging).c_str(), MNT_DETACH), 0);
  ExpectFails(broker_.Stage(Userspace(), Soon()), Code::kFailedPrecondition, kTarget);
  EXPECT_FALSE(broker_.State(kubelet_.Path(kTarget), Soon())->fault);
}

TEST_F(BrokerTest, ASilentVolumeIsTakenDownInBoundedTime) {
  ExpectOk(broker_.Stage(Userspace(), Soon()));
  ExpectOk(broker_.Publish(To(kTarget), Soon()));
  data_paths_.Server("fast:v1")->Set(TestFuseServer::Mode::kSwallow);
  const auto begin = std::chrono::steady_clock::now();
  const auto state = broker_.State(kubelet_.Path(kTarget), Soon());
  ASSERT_TRUE(state && state->fault);
  EXPECT_FALSE(state->gone);
  ExpectOk(broker_.Unpublish(kubelet_.Path(kTarget), Soon()));
  ExpectOk(Unstage());
  EXPECT_LT(std::chrono::steady_clock::now() - begin, milliseconds(30000));
  EXPECT_TRUE(At(kTarget).empty());
  EXPECT_TRUE(At(kStaging).empty());
  EXPECT_FALSE(fs::exists(kubelet_.Path(kTarget)));
}

TEST_F(BrokerTest, ADeadlineTooShortToJudgeTakesNothingDown) {
  ExpectOk(broker_.Stage(Userspace(), Soon()));
  data_paths_.Server("fast:v1")->Set(TestFuseServer::Mode::kSwallow);
  const auto status =
      broker_.Stage(Userspace(), std::chrono::steady_clock::now() + milliseconds(300));
  ExpectFails(status, Code::kDeadlineExceeded, "statfs");
  EXPECT_EQ(At(kStaging).size(), 1U);
}

TEST_F(BrokerTest, SaysSinceWhenAVolumeIsSilentAndWhatItLastMeasured) {
  ExpectOk(broker_.Stage(Userspace(), Soon()));
  ASSERT_EQ(UsageAt(kStaging).total_bytes, 1000U * 4096);
  data_paths_.Server("fast:v1")->Set(TestFuseServer::Mode::kIgnore);
  const auto away = broker_.State(kubelet_.Path(kStaging), Soon());
  ASSERT_TRUE(away && away->fault);
  EXPECT_THAT(*away->fault, HasSubstr("does not answer since 2"));
  ASSERT_TRUE(away->usage);
  EXPECT_EQ(away->usage->total_bytes, 1000U * 4096);
  data_paths_.Server("fast:v1")->Set(TestFuseServer::Mode::kAnswer);
  EXPECT_FALSE(broker_.State(kubelet_.Path(kStaging), Soon())->fault);
}

TEST_F(BrokerTest, AFilesystemTheKernelLacksIsServedInUserSpaceWhereTheSourceAllowsIt) {
  config_.backends["fast"].grants.fs_types.emplace_back("gantry-none");
  config_.backends["fast"].grants.servers.emplace_back("*");
  core::StageMount mount = Userspace();
  mount.source.set_kind(GANTRY_SOURCE_FILESYSTEM_OR_USERSPACE);
  mount.source.set_fs_type("gantry-none");
  mount.source.set_source("nas:/v1");
  ExpectOk(broker_.Stage(mount, Soon()));
  EXPECT_EQ(At(kStaging).at(0).fs_type, "fuse.gantry");
  ExpectOk(broker_.Stage(mount, Soon()));
  EXPECT_EQ(data_paths_.starts, 1);
  mount.source.set_kind(GANTRY_SOURCE_FILESYSTEM);
  mount.staging_path = kubelet_.Path("plugins/other");
  ExpectFails(broker_.Stage(mount, Soon()), Code::kFailedPrecondition, "gantry-none");
}

TEST_F(BrokerTest, AFilesystemTheKernelHasIsTheKernels) {
  core::StageMount mount = Userspace();
  mount.source.set_kind(GANTRY_SOURCE_FILESYSTEM_OR_USERSPACE);
  mount.source.set_fs_type("tmpfs");
  mount.source.set_source("v1");
  ExpectOk(broker_.Stage(mount, Soon()));
  ExpectOk(broker_.Stage(mount, Soon()));
  EXPECT_EQ(At(kStaging).at(0).fs_type, "tmpfs");
  EXPECT_EQ(data_paths_.starts, 0);
  ExpectOk(Unstage());
}

TEST_F(BrokerTest, ANfsServerThatDoesNotAnswerIsNoMatterForTheKernel) {
  auto& grants = config_.backends["fast"].grants;
  grants.fs_types.emplace_back("nfs4");
  grants.servers.emplace_back("127.0.0.1");
  core::StageMount mount = Tmpfs();
  mount.source.clear_options();
  mount.source.set_fs_type("nfs4");
  mount.source.set_source("127.0.0.1:/export");
  mount.source.add_options("port=1");
  ExpectFails(broker_.Stage(mount, Soon()), Code::kUnavailable, "127.0.0.1 port 1");
  EXPECT_TRUE(At(kStaging).empty());
}

}  // namespace
}  // namespace gantry::services
