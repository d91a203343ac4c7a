// SPDX-License-Identifier: Apache-2.0
#include "host/wire/data_path_description.hpp"

#include <fcntl.h>
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
  d.disk = true;
  d.identity = "naa.6000";
  d.size_bytes = uint64_t{5} << 40;
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
  EXPECT_TRUE(d->disk);
  EXPECT_EQ(d->identity, "naa.6000");
  EXPECT_EQ(d->size_bytes, uint64_t{5} << 40);
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

// Sealed, whatever it holds.
base::UniqueFd Sealed(const std::string& bytes) {
  base::UniqueFd fd(memfd_create("description", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(write(fd.get(), bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
  EXPECT_EQ(fcntl(fd.get(), F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE),
            0);
  return fd;
}

TEST(DataPathDescription, AUidThatIsNoneIsNotReadAsRoot) {
  const auto whole = SealDescription(Example());
  ASSERT_TRUE(whole);
  std::string bytes(kDescriptionBytesMax, '\0');
  bytes.resize(static_cast<size_t>(pread(whole->get(), bytes.data(), bytes.size(), 0)));
  ASSERT_TRUE(ReadDescription(Sealed(bytes).get()));
  constexpr uint64_t kUid = 60000;
  const size_t at = bytes.find(std::string(reinterpret_cast<const char*>(&kUid), sizeof kUid));
  ASSERT_NE(at, std::string::npos);
  const uint64_t beyond = uint64_t{1} << 32;
  bytes.replace(at, sizeof beyond, reinterpret_cast<const char*>(&beyond), sizeof beyond);
  const auto read = ReadDescription(Sealed(bytes).get());
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, base::Code::kInternal);
}

}  // namespace
}  // namespace gantry::wire
