// SPDX-License-Identifier: Apache-2.0
// What needs no target: parameters, and the order of reservation keys.
#include "plugins/iscsi/datapath/options.hpp"

#include <gtest/gtest.h>

#include <gantry/gantry.hpp>
#include <map>

#include "plugins/iscsi/datapath/fence.hpp"
#include "plugins/iscsi/datapath/testing/fake_host.hpp"

namespace gantry::iscsi {
namespace {

using Parameters = std::map<std::string, std::string>;

Parameters Good(const Parameters& more = {}) {
  Parameters parameters = {{"portals", "192.0.2.1,[2001:db8::1]:860"},
                           {"target", "iqn.2026-01.test.gantry:t"},
                           {"lun", "1"},
                           {"initiator", "iqn.2026-01.test.gantry:i"}};
  for (const auto& [key, value] : more) parameters[key] = value;
  return parameters;
}

plugin::Result<DiskOptions> Parse(const Parameters& parameters, const char* volume = "volume-1") {
  const MapRef map(parameters);
  return ParseOptions(map.get(), volume);
}

TEST(DiskOptions, DefaultsWaitForEverAndReserve) {
  const auto options = Parse(Good());
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->portals.size(), 2u);
  EXPECT_EQ(options->lun, 1u);
  EXPECT_EQ(options->io_timeout, std::nullopt);
  EXPECT_TRUE(options->reserve);
  EXPECT_EQ(options->chap, ChapMode::kNone);
  EXPECT_FALSE(options->login.header_digest);
}

TEST(DiskOptions, TheSessionsIdIsTheSameInEveryProcessAndAnotherForOthers) {
  const auto isid = Parse(Good())->login.isid;
  EXPECT_EQ(Parse(Good({{"portals", "192.0.2.9"}}))->login.isid, isid);
  EXPECT_FALSE(Parse(Good(), "volume-2")->login.isid == isid);
  EXPECT_FALSE(Parse(Good({{"initiator", "iqn.2026-01.test.gantry:j"}}))->login.isid == isid);
}

TEST(DiskOptions, RefusesWhatItCannotReadAndNamesIt) {
  const Parameters cases[] = {{{"portals", ""}},
                              {{"portals", "a b"}},
                              {{"target", ""}},
                              {{"target", "t"}},
                              {{"initiator", ""}},
                              {{"lun", ""}},
                              {{"lun", "16384"}},
                              {{"lun", "-1"}},
                              {{"chap", "yes"}},
                              {{"headerDigest", "on"}},
                              {{"dataDigest", "CRC32C"}},
                              {{"fence", "maybe"}},
                              {{"ioTimeoutSeconds", "0"}},
                              {{"ioTimeoutSeconds", "5s"}}};
  for (const Parameters& bad : cases) {
    const auto options = Parse(Good(bad));
    ASSERT_FALSE(options) << bad.begin()->first;
    EXPECT_EQ(options.error().code, plugin::code::kInvalidArgument);
    EXPECT_NE(options.error().message.find(bad.begin()->first), std::string::npos)
        << options.error().message;
  }
}

TEST(DiskOptions, TakesItsSecretsFromTheHost) {
  test::FakeHost host;
  host.SetSecret("node.session.auth.username", "alice");
  auto options = *Parse(Good({{"chap", "mutual"}}));
  auto added = AddSecrets(host.table(), &options);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code, plugin::code::kUnauthenticated);
  EXPECT_NE(added.error().message.find("node.session.auth.password "), std::string::npos);
  host.SetSecret("node.session.auth.password", "secret123456");
  host.SetSecret("node.session.auth.username_in", "target");
  host.SetSecret("node.session.auth.password_in", "secret123456");
  added = AddSecrets(host.table(), &options);
  ASSERT_FALSE(added) << "both ways the same secret";
  EXPECT_EQ(added.error().message.find("secret123456"), std::string::npos);
  host.SetSecret("node.session.auth.password_in", "outsecret1234");
  added = AddSecrets(host.table(), &options);
  ASSERT_TRUE(added) << added.error().message;
  EXPECT_EQ(options.login.chap->user(), "alice");
  EXPECT_EQ(options.login.mutual->secret(), "outsecret1234");
}

TEST(ReservationKey, CarriesItsPartsAndIsToldFromOthers) {
  const ReservationKey key(0x65000001, 0xabc, 0x123);
  EXPECT_EQ(key.epoch(), 0x65000001u);
  EXPECT_EQ(key.login(), 0xabc);
  EXPECT_EQ(key.owner(), 0x123);
  ASSERT_TRUE(ReservationKey::From(key.value()));
  EXPECT_EQ(ReservationKey::From(key.value())->value(), key.value());
  EXPECT_FALSE(ReservationKey::From(0xa));
}

TEST(ReservationKey, TheLaterEpochIsNewerAndALoginIsNot) {
  const ReservationKey key(5, 1, 7);
  EXPECT_TRUE(key.IsOlderThan(ReservationKey(6, 0, 0)));
  EXPECT_FALSE(ReservationKey(6, 0, 0).IsOlderThan(key));
  EXPECT_FALSE(key.IsOlderThan(ReservationKey(5, 2, 7)));
  EXPECT_FALSE(ReservationKey(5, 2, 7).IsOlderThan(key));
  EXPECT_NE(key.IsOlderThan(ReservationKey(5, 0, 8)), ReservationKey(5, 0, 8).IsOlderThan(key));
}

}  // namespace
}  // namespace gantry::iscsi
