// SPDX-License-Identifier: Apache-2.0
#include "host/core/identity.hpp"

#include <gtest/gtest.h>

#include "host/core/testing.hpp"

namespace gantry::core {
namespace {

using csi::v1::PluginCapability;
using testing::Describe;
using testing::FakeDriver;
using testing::Soon;

std::set<int> ServicesOf(FakeDriver& fake) {
  std::set<int> types;
  const auto response = Identity(fake.driver()).GetPluginCapabilities({}, Soon());
  for (const auto& capability : response->capabilities())
    if (capability.has_service()) types.insert(capability.service().type());
  return types;
}

TEST(Identity, SaysNameAndVersion) {
  FakeDriver fake;
  const auto info = Identity(fake.driver()).GetPluginInfo({}, Soon());
  ASSERT_TRUE(info);
  EXPECT_EQ(info->name(), "test.gantry");
  EXPECT_EQ(info->vendor_version(), "1.2.3");
}

TEST(Identity, IsReadyWithoutAskingABackend) {
  FakeDriver fake;
  EXPECT_TRUE(Identity(fake.driver()).Probe({}, Soon())->ready().value());
  EXPECT_TRUE(fake.backend().seen().empty());
}

TEST(Identity, OffersServicesByRoleAndBackend) {
  FakeDriver all;
  EXPECT_EQ(ServicesOf(all), (std::set<int>{PluginCapability::Service::CONTROLLER_SERVICE,
                                            PluginCapability::Service::GROUP_CONTROLLER_SERVICE,
                                            PluginCapability::Service::SNAPSHOT_METADATA_SERVICE}));
  FakeDriver node({{"fast", Describe(testing::AllOperations())}}, {false, true});
  EXPECT_TRUE(ServicesOf(node).empty());
  auto description = Describe({channel::CREATE_VOLUME});
  description.add_topology_keys("zone");
  FakeDriver zoned({{"fast", description}});
  EXPECT_EQ(ServicesOf(zoned),
            (std::set<int>{PluginCapability::Service::CONTROLLER_SERVICE,
                           PluginCapability::Service::VOLUME_ACCESSIBILITY_CONSTRAINTS}));
}

}  // namespace
}  // namespace gantry::core
