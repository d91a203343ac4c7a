// SPDX-License-Identifier: Apache-2.0
#include "plugins/iscsi/initiator/open_iscsi.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plugins/iscsi/initiator/namespaces.hpp"

namespace gantry::iscsi::initiator {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(LoginSettings, NothingLogsInAtBootAndNoOtherLunIsLookedFor) {
  const std::string text = LoginSettings({});
  EXPECT_THAT(text, HasSubstr("node.startup = manual\n"));
  EXPECT_THAT(text, HasSubstr("node.session.scan = manual\n"));
  EXPECT_THAT(text, HasSubstr("node.session.auth.authmethod = None\n"));
}

TEST(LoginSettings, HaveTheSecretsOfBothSidesWhereBothProveThemselves) {
  target::Chap chap{"user", "one", "", ""};
  LoginWish wish;
  wish.chap = &chap;
  EXPECT_THAT(LoginSettings(wish), HasSubstr("node.session.auth.password = one\n"));
  EXPECT_THAT(LoginSettings(wish), Not(HasSubstr("_in")));
  chap.user_in = "target";
  chap.password_in = "two";
  EXPECT_THAT(LoginSettings(wish), HasSubstr("node.session.auth.username_in = target\n"));
  EXPECT_THAT(LoginSettings(wish), HasSubstr("node.session.auth.password_in = two\n"));
}

TEST(KeptSettings, AreTheNodesOwnWithoutSecretsAndWithoutWhatStartsIscsid) {
  EXPECT_EQ(KeptSettings("# node.x = 1\niscsid.startup = /sbin/iscsid\n"
                         "  node.session.timeo.replacement_timeout = 7\n"
                         "node.session.auth.password = geheim\ndiscovery.x = 1\nnode.y = 2"),
            "node.session.timeo.replacement_timeout = 7\nnode.y = 2\n");
}

TEST(PortalText, HasBracketsAroundIPv6) {
  EXPECT_EQ(PortalText({"10.0.0.1", 3260}), "10.0.0.1:3260");
  EXPECT_EQ(PortalText({"fd00::1", 3261}), "[fd00::1]:3261");
}

TEST(InterfaceName, IsOneForEachInitiator) {
  EXPECT_EQ(InterfaceName("iqn.a"), InterfaceName("iqn.a"));
  EXPECT_NE(InterfaceName("iqn.a"), InterfaceName("iqn.b"));
}

}  // namespace
}  // namespace gantry::iscsi::initiator
