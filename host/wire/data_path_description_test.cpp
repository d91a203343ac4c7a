// SPDX-License-Identifier: Apache-2.0
#include "host/wire/data_path_description.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

namespace gantry::wire {
namespace {

DataPathDescription Example() {
  DataPathDescription d;
  d.volume_id = "nfs:v1";
  d.backend = "nfs";
  d.plugin = "/store/x.so";
  d.config_json = "{}";
  d.parameters = {{"server", "10.0.0.1"}, {"empty", ""}};
  d.capabilities = {"NET_BIND_SERVICE"};
  d.uid = 60000;
  d.gid = 60001;
  d.limits = {64, 32, 128, 50};
  d.readonly = true;
  d.mount_group = "4000";
  d.secrets.emplace("key", base::SecretBytes("sec\0ret"));
  return d;
}

TEST(DataPathDescription, ComesBackWhole) {
  const auto fd = SealDescription(Example());
  ASSERT_TRUE(fd);
  const auto d = ReadDescription(fd->get());
  ASSERT_TRUE(d) << d.error().message;
  const DataPathDescription example = Example();
  EXPECT_EQ(d->volume_id, example.volume_id);
  EXPECT_EQ(d->plugin, example.plugin);
  EXPECT_EQ(d->parameters, example.parameters);
  EXPECT_EQ(d->capabilities, example.capabilities);
  EXPECT_EQ(d->uid, 60000U);
  EXPECT_EQ(d->gid, 60001U);
  EXPECT_EQ(d->limits.memory_mib, 64U);
  EXPECT_EQ(d->limits.threads, 32U);
  EXPECT_EQ(d->limits.open_files, 128U);
  EXPECT_TRUE(d->readonly);
  EXPECT_EQ(d->mount_group, "4000");
  EXPECT_EQ(d->secrets.at("key").view(), example.secrets.at("key").view());
}

TEST(DataPathDescription, CannotBeChanged) {
  const auto fd = SealDescription(Example());
  ASSERT_TRUE(fd);
  EXPECT_EQ(pwrite(fd->get(), "x", 1, 0), -1);
  EXPECT_EQ(ftruncate(fd->get(), 1), -1);
}

TEST(DataPathDescription, IsRefusedWhenItIsNotSealed) {
  const base::UniqueFd fd(memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  ASSERT_EQ(write(fd.get(), "x", 1), 1);
  EXPECT_FALSE(ReadDescription(fd.get()));
}

TEST(DataPathDescription, HasALimit) {
  DataPathDescription d = Example();
  d.config_json.assign(kDescriptionBytesMax, 'x');
  EXPECT_EQ(SealDescription(d).error().code, base::Code::kResourceExhausted);
}

}  // namespace
}  // namespace gantry::wire
