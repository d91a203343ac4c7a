// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/mount_flags.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace gantry::nfs {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ShareConfig Share() {
  ShareConfig share;
  share.port = 2049;
  return share;
}

plugin::Result<MountFlags> JudgeFlags(const std::vector<std::string_view>& flags,
                                      bool reserved_ports = false) {
  return JudgeMountFlags(flags, Share(), reserved_ports);
}

void ExpectRefused(std::string_view flag, const std::string& text) {
  const auto judged = JudgeFlags({flag});
  ASSERT_FALSE(judged) << flag;
  EXPECT_EQ(judged.error().code, plugin::code::kInvalidArgument);
  EXPECT_THAT(judged.error().message, HasSubstr(text));
}

TEST(MountFlags, WhatTheClientDoesOrNobodyNoticesIsAccepted) {
  for (const char* flag : {"",
                           "nfsvers=3",
                           "vers=3",
                           "v3",
                           "hard",
                           "tcp",
                           "proto=tcp",
                           "sec=sys",
                           "nolock",
                           "local_lock=all",
                           "rsize=1048576",
                           "wsize=65536",
                           "nconnect=4",
                           "timeo=600",
                           "retrans=2",
                           "port=2049",
                           "noresvport",
                           "intr",
                           "x-systemd.automount",
                           "context=\"system_u:object_r:container_file_t:s0:c1,c2\"",
                           "hard,nolock,,rsize=4096"}) {
    const auto judged = JudgeFlags({flag});
    EXPECT_TRUE(judged) << flag << ": " << judged.error().message;
    EXPECT_EQ(judged->soft_timeout_seconds, 0u) << flag;
  }
}

TEST(MountFlags, WhatTheHostDecidesIsLeftToTheHost) {
  EXPECT_TRUE(JudgeFlags({"ro", "noexec,noatime", "nosuid", "suid", "remount"}));
}

TEST(MountFlags, AnotherProtocolIsRefusedByName) {
  for (const char* flag : {"nfsvers=4.1", "nfsvers=4", "vers=4.2", "nfsvers=", "nfsvers", "vers=2"})
    ExpectRefused(flag, "vers\": expected 3");
  ExpectRefused("v4.1", "\"v4.1\"");
  ExpectRefused("proto=udp", "\"proto\": expected tcp");
  ExpectRefused("rdma", "\"rdma\": expected tcp");
  ExpectRefused("hard,nfsvers=4.1", "\"nfsvers\"");
}

TEST(MountFlags, APromiseThatWouldNotBeKeptIsRefusedByName) {
  for (const char* flag : {"sec=krb5p", "noac", "actimeo=0", "lookupcache=none", "lock",
                           "local_lock=none", "acl", "bg", "fsc", "nonsense", "addr=10.0.0.1"}) {
    const std::string_view text(flag);
    ExpectRefused(text, "mount flag \"" + std::string(text.substr(0, text.find('='))) + "\"");
  }
}

TEST(MountFlags, AValueIsNeverShown) {
  const auto judged = JudgeFlags({"password=hunter2"});
  ASSERT_FALSE(judged);
  EXPECT_THAT(judged.error().message, HasSubstr("\"password\""));
  EXPECT_THAT(judged.error().message, Not(HasSubstr("hunter2")));
}

TEST(MountFlags, NumbersAreNumbers) {
  for (const char* flag : {"rsize=", "rsize=x", "wsize=-1", "timeo=0", "timeo=1x", "retrans=x",
                           "nconnect=99999999999"})
    ExpectRefused(flag, "a number");
  ExpectRefused("rsize", "\"rsize\"");
}

TEST(MountFlags, PortsAgreeWithTheConfiguration) {
  ExpectRefused("port=2050", "\"port\"");
  ExpectRefused("mountport=20048", "\"mountport\"");
  ExpectRefused("mountport=0", "\"mountport\"");
  ExpectRefused("resvport", "reservedPorts");
  EXPECT_TRUE(JudgeFlags({"resvport"}, /*reserved_ports=*/true));
  EXPECT_FALSE(JudgeFlags({"noresvport"}, /*reserved_ports=*/true));
}

TEST(MountFlags, SoftEndsAnOperationAfterTheRetransmissions) {
  EXPECT_EQ(JudgeFlags({"soft"})->soft_timeout_seconds, 180u);
  EXPECT_FALSE(JudgeFlags({"soft"})->local_locks);
  EXPECT_TRUE(JudgeFlags({"nolock"})->local_locks);
  EXPECT_TRUE(JudgeFlags({"hard", "local_lock=all,soft"})->local_locks);
  EXPECT_EQ(JudgeFlags({"softerr,timeo=15", "retrans=0"})->soft_timeout_seconds, 2u);
  EXPECT_EQ(JudgeFlags({"soft", "hard"})->soft_timeout_seconds, 0u);
  EXPECT_TRUE(JudgeFlags({"softerr"})->is_softerr);
  EXPECT_FALSE(JudgeFlags({"softerr", "soft"})->is_softerr);
  EXPECT_EQ(JudgeFlags({"soft,timeo=4294967295,retrans=4294967295"})->soft_timeout_seconds, 86400u);
}

}  // namespace
}  // namespace gantry::nfs
