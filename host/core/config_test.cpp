// SPDX-License-Identifier: Apache-2.0
#include "host/core/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "host/base/file.hpp"
#include "host/base/temp_dir.hpp"

namespace gantry::core {
namespace {

using ::testing::HasSubstr;

constexpr char kGood[] = R"(state_directory: /var/lib/gantry
trust: any
drivers:
  - name: nfs.example.org
    endpoint: unix:///csi/csi.sock
    backends: [fast-nfs]
backends:
  fast-nfs:
    plugin: nfs
    owner: cluster-a
    uid: 61001
    config:
      shares: [{server: 10.0.0.1, share: /vol, port: 2049}]
      mode: "0770"
      reserved: true
    grants:
      userspace: true
      helpers:
        mkfs: {program: /sbin/mkfs.ext4, arguments: [["-F", "{path:/dev/mapper}"]], uid: 0}
node:
  id: node-1
)";

class ConfigTest : public ::testing::Test {
 protected:
  base::Result<Config> Load(const std::string& text) {
    EXPECT_TRUE(base::WriteFileDurably(dir_.path() / "gantry.yaml", text, 0600));
    return LoadConfig(dir_.path() / "gantry.yaml");
  }
  // kGood with one piece of text replaced.
  static std::string Good(const std::string& from, const std::string& to) {
    std::string text = kGood;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
  }
  std::string Error(const std::string& from, const std::string& to) {
    const auto config = Load(Good(from, to));
    return config ? "no error" : config.error().message;
  }
  base::TempDir dir_;
};

TEST_F(ConfigTest, ReadsTheGrantsOfBlockBackends) {
  const auto config = Load(Good("      userspace: true\n", R"(      block:
        disks: true
        iscsi_targets: ["iqn.2026-01.example:*"]
        loop_directories: [/srv/disks/]
        fs_types: [ext4, xfs]
        mkfs_options: [["-m", "{number:0-10}"]]
        raw: true
)"));
  ASSERT_TRUE(config) << config.error().message;
  const auto block = config->backends.at("fast-nfs").grants.block;
  EXPECT_TRUE(block.disks);
  EXPECT_TRUE(block.raw);
  EXPECT_EQ(block.iscsi_targets.at(0), "iqn.2026-01.example:*");
  EXPECT_EQ(block.loop_directories.at(0), "/srv/disks");
  EXPECT_EQ(block.fs_types.size(), 2U);
  EXPECT_EQ(block.mkfs_options.at(0).at(1), "{number:0-10}");
}

TEST_F(ConfigTest, NamesWhatIsWrongInTheGrantsOfBlockBackends) {
  const auto error = [this](const std::string& line) {
    return Error("      userspace: true\n", "      block: {" + line + "}\n");
  };
  EXPECT_NE(error("fs_types: [vfat]").find("block.fs_types"), std::string::npos);
  EXPECT_NE(error("iscsi_targets: [\"IQN x\"]").find("block.iscsi_targets"), std::string::npos);
  EXPECT_NE(error("loop_directories: [disks]").find("loop_directories"), std::string::npos);
  EXPECT_NE(error("mkfs_options: [[\"-O*\"]]").find("mkfs_options"), std::string::npos);
  EXPECT_NE(error("devices: [/dev/sda]").find("unknown key"), std::string::npos);
}

TEST_F(ConfigTest, ReadsAWholeFile) {
  const auto config = Load(kGood);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->node_id, "node-1");
  EXPECT_EQ(config->keeper_socket, "/var/lib/gantry/keeper.sock");
  EXPECT_EQ(config->drivers.at(0).default_backend, "fast-nfs");
  EXPECT_TRUE(config->drivers.at(0).nodes.empty());
  const auto& backend = config->backends.at("fast-nfs");
  EXPECT_EQ(backend.gid, 61001U);
  EXPECT_EQ(backend.config_json,
            R"({"mode":"0770","reserved":true,"shares":[{"port":2049,"server":"10.0.0.1",)"
            R"("share":"/vol"}]})");
  EXPECT_EQ(backend.grants.helpers.at("mkfs").arguments.at(0).at(1), "{path:/dev/mapper}");
  EXPECT_EQ(backend.grants.helpers.at("mkfs").gid, 0U);
}

TEST_F(ConfigTest, AKeeperOfItsOwnIsStartedUnlessOneIsDeployed) {
  const auto config = Load(kGood);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_TRUE(config->start_keeper);
  const auto deployed = Load(std::string("start_keeper: false\n") + kGood);
  ASSERT_TRUE(deployed) << deployed.error().message;
  EXPECT_FALSE(deployed->start_keeper);
}

TEST_F(ConfigTest, StandbysAreThereByChoice) {
  const auto config = Load(kGood);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_FALSE(config->backends.at("fast-nfs").standby);
  std::string text = kGood;
  text.insert(text.find("    config:"), "    standby: true\n");
  const auto warm = Load(text);
  ASSERT_TRUE(warm) << warm.error().message;
  EXPECT_TRUE(warm->backends.at("fast-nfs").standby);
}

TEST_F(ConfigTest, AnUnknownKeyIsRefusedWithFileAndLine) {
  EXPECT_EQ(Error("uid: 61001", "uid: 61001\n    usrspace: true"),
            "gantry.yaml:12: backends.fast-nfs.usrspace: unknown key: expected one of plugin, "
            "owner, uid, gid, config, credentials, grants, limits, standby, stuck, trust, watch");
}

TEST_F(ConfigTest, ADriverMayNameItsNodes) {
  std::string text = kGood;
  const std::string before = "backends: [fast-nfs]\n";
  text.replace(text.find(before), before.size(), before + "    nodes: [worker-*]\n");
  const auto config = Load(text);
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_EQ(config->drivers.at(0).nodes, std::vector<std::string>{"worker-*"});
}

TEST_F(ConfigTest, AWorkerIsNeverRoot) {
  EXPECT_EQ(Error("uid: 61001", "uid: 0"),
            "gantry.yaml:11: backends.fast-nfs.uid: \"0\": expected a whole number from 1 to "
            "4294967294");
}

TEST_F(ConfigTest, TwoBackendsNeverShareAUid) {
  EXPECT_EQ(
      Error("node:\n", "  slow-nfs: {plugin: nfs, owner: cluster-a, uid: 61001}\nnode:\n"),
      "gantry.yaml:20: backends.slow-nfs.uid: \"61001\": expected a uid of the backend's own; "
      "fast-nfs has this one");
}

TEST_F(ConfigTest, LimitsHaveDefaultsOfTheirOwn) {
  const auto config = Load(kGood);
  ASSERT_TRUE(config) << config.error().message;
  const auto& limits = config->backends.at("fast-nfs").limits;
  EXPECT_EQ(limits.memory_mib, 512U);
  EXPECT_EQ(limits.threads, 256U);
  EXPECT_EQ(limits.open_files, 1024U);
  EXPECT_EQ(limits.cpu_weight, 100U);
  EXPECT_TRUE(config->cgroup.path.empty());
}

TEST_F(ConfigTest, ReadsLimitsAndTheDelegatedCgroup) {
  std::string text = kGood;
  text.insert(text.find("    config:"),
              "    limits: {memory_mib: 64, threads: 32, open_files: 128, cpu_weight: 50}\n");
  text += "cgroup: {path: system.slice/gantryd.service}\n";
  const auto config = Load(text);
  ASSERT_TRUE(config) << config.error().message;
  const auto& limits = config->backends.at("fast-nfs").limits;
  EXPECT_EQ(limits.memory_mib, 64U);
  EXPECT_EQ(limits.threads, 32U);
  EXPECT_EQ(limits.open_files, 128U);
  EXPECT_EQ(limits.cpu_weight, 50U);
  EXPECT_EQ(config->cgroup.root, "/sys/fs/cgroup");
  EXPECT_EQ(config->cgroup.path, "system.slice/gantryd.service");
}

TEST_F(ConfigTest, LimitsThatNoWorkerCouldLiveWithAreRefused) {
  EXPECT_EQ(
      Error("    config:", "    limits: {memory_mib: 1}\n    config:"),
      "gantry.yaml:12: backends.fast-nfs.limits.memory_mib: \"1\": expected a whole number from "
      "32 to 1048576");
  EXPECT_NE(Error("    config:", "    limits: {threads: 1}\n    config:").find("from 16 to 4096"),
            std::string::npos);
  EXPECT_NE(Error("    config:", "    limits: {memory: 64}\n    config:").find("unknown key"),
            std::string::npos);
}

TEST_F(ConfigTest, ACgroupIsNamedBelowItsRoot) {
  for (const char* path : {"/gantry", "../gantry", "a/../../b"})
    EXPECT_NE(Error("node:\n", "cgroup: {path: " + std::string(path) + "}\nnode:\n")
                  .find("expected a path relative to root"),
              std::string::npos)
        << path;
  EXPECT_NE(Error("node:\n", "cgroup: {root: /sys/fs/cgroup}\nnode:\n").find("cgroup.path"),
            std::string::npos);
}

TEST_F(ConfigTest, ADriverNamesBackendsThatThereAre) {
  EXPECT_EQ(Error("backends: [fast-nfs]", "backends: [slow-nfs]"),
            "gantry.yaml:6: drivers.[0].backends: a list: expected names under `backends`; "
            "\"slow-nfs\" is none");
}

TEST_F(ConfigTest, PathsAreAbsolute) {
  EXPECT_EQ(Error("state_directory: /var", "state_directory: var"),
            "gantry.yaml:1: state_directory: \"var/lib/gantry\": expected an absolute path");
}

TEST_F(ConfigTest, EndpointsAreUnixSockets) {
  EXPECT_NE(Error("unix:///csi", "tcp:///csi").find("expected unix:///"), std::string::npos);
}

TEST_F(ConfigTest, AKeyIsGivenOnce) {
  EXPECT_NE(Error("uid: 61001", "uid: 61001\n    uid: 61002").find("given twice"),
            std::string::npos);
}

TEST_F(ConfigTest, AnAliasOfWhatHoldsItIsRefused) {
  EXPECT_THAT(Error("config:\n", "config: &a\n      again: *a\n"), HasSubstr("within each other"));
}

TEST_F(ConfigTest, AliasesThatStandForTooMuchAreRefused) {
  std::string config = "config:\n      a0: &a0 [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]\n";
  for (int i = 1; i < 10; ++i) {
    const std::string below = "*a" + std::to_string(i - 1);
    config += "      a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + below;
    for (int k = 1; k < 10; ++k) config += ", " + below;
    config += "]\n";
  }
  EXPECT_THAT(Error("config:\n", config), HasSubstr("at most 100000 values"));
}

TEST_F(ConfigTest, APathEndsForTheKernelWhereItEndsForUs) {
  EXPECT_THAT(Error("/var/lib/gantry", "\"/var/lib\\0/gantry\""), HasSubstr("a text without NUL"));
}

TEST_F(ConfigTest, SocketsHavePathsThatCanBeBound) {
  const std::string path = "/" + std::string(120, 'a');
  for (const char* key : {"keeper_socket", "admin_socket"})
    EXPECT_THAT(Error("trust: any", "trust: any\n" + std::string(key) + ": " + path),
                HasSubstr(std::string(key) + ": \"" + path + "\": expected a path of at most 100"));
}

TEST_F(ConfigTest, BadYamlIsRefusedWithItsLine) {
  EXPECT_EQ(Error("node:", "node: [").substr(0, 12), "gantry.yaml:");
}

TEST_F(ConfigTest, AWorkerIsGrantedNoCapabilityButOne) {
  EXPECT_NE(Error("userspace: true", "capabilities: [SYS_ADMIN]").find("NET_BIND_SERVICE"),
            std::string::npos);
}

TEST_F(ConfigTest, LongNodeNamesAreHashed) {
  std::string text = kGood;
  text.replace(text.find("node-1"), 6, std::string(200, 'n'));
  EXPECT_EQ(Load(text)->node_id.size(), 64U);
}

TEST_F(ConfigTest, GrantsThatCannotBeJudgedAreRefusedWhereTheyStand) {
  for (const auto& [grant, text] :
       {std::pair("servers: [\"nas.*\"]", "gantry.yaml:17: backends.fast-nfs.grants.servers: "),
        std::pair("exports: [\"nas/vol\"]", "gantry.yaml:17: backends.fast-nfs.grants.exports: "),
        std::pair("mount_options: [\"*\"]", "grants.mount_options: mount option \"*\""),
        std::pair("helpers: {x: {program: /bin/x, arguments: [[\"*\"]]}}",
                  "helpers.x.arguments.[0]: \"*\": expected fixed text")})
    EXPECT_THAT(Error("userspace: true\n      helpers:\n        mkfs: {program: /sbin/mkfs.ext4, "
                      "arguments: [[\"-F\", \"{path:/dev/mapper}\"]], uid: 0}",
                      grant),
                HasSubstr(text));
}

TEST_F(ConfigTest, TrustMustBeSaidAndTheRefusalSaysHow) {
  const std::string error = Error("trust: any\n", "");
  for (const char* text : {"trust: nothing", "sha256:", "keys:", "\"any\""})
    EXPECT_THAT(error, HasSubstr(text));
  for (const char* bad : {"trust: all", "trust: {}", "trust: [any]", "trust: {sha256: []}"})
    EXPECT_THAT(Error("trust: any", bad), HasSubstr("expected which plugins may be loaded")) << bad;
}

TEST_F(ConfigTest, ReadsDigestsAndKeysAndRefusesWhatIsNone) {
  const std::string digest(64, 'a');
  const auto config = Load(
      Good("trust: any", "trust: {sha256: [\"" + digest + "\"], keys: [/etc/gantry/vendor.pem]}"));
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_FALSE(config->trust.any);
  EXPECT_EQ(trust::Hex(config->trust.digests.at(0)), digest);
  EXPECT_EQ(config->backends.at("fast-nfs").trust.keys.at(0), "/etc/gantry/vendor.pem");
  EXPECT_THAT(Error("trust: any", "trust: {sha256: [\"" + digest + "b\"]}"),
              HasSubstr("trust.sha256.[0]: "));
  EXPECT_THAT(Error("trust: any", "trust: {keys: [vendor.pem]}"), HasSubstr("absolute path"));
  EXPECT_THAT(Error("trust: any", "trust: {key: [/vendor.pem]}"), HasSubstr("unknown key"));
}

TEST_F(ConfigTest, ABackendsOwnTrustReplacesTheCommonOne) {
  const auto config =
      Load(Good("    uid: 61001", "    uid: 61001\n    trust: {keys: [/etc/gantry/nfs.pem]}"));
  ASSERT_TRUE(config) << config.error().message;
  EXPECT_TRUE(config->trust.any);
  EXPECT_FALSE(config->backends.at("fast-nfs").trust.any);
  EXPECT_EQ(config->backends.at("fast-nfs").trust.keys.size(), 1U);
}

TEST_F(ConfigTest, ReadsWhenStuckCallsCostAWorkerItsLife) {
  std::string text = kGood;
  text.insert(text.find("    grants:"), "    stuck: {grace_ms: 500, calls_max: 3}\n");
  const auto config = Load(text);
  ASSERT_TRUE(config) << config.error().message;
  const auto& stuck = config->backends.at("fast-nfs").stuck;
  EXPECT_EQ(stuck.grace, std::chrono::milliseconds(500));
  EXPECT_EQ(stuck.age_max, kStuckAgeMsMaxDefault);
  EXPECT_EQ(stuck.calls_max, 3U);
  EXPECT_NE(Error("    grants:", "    stuck: {calls_max: 0}\n    grants:")
                .find("stuck.calls_max: \"0\": expected a whole number from 1 to 256"),
            std::string::npos);
  EXPECT_NE(Error("    grants:", "    stuck: {age_ms_max: 10}\n    grants:").find("grace_ms"),
            std::string::npos);
}

}  // namespace
}  // namespace gantry::core
