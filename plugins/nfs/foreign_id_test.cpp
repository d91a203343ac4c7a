// SPDX-License-Identifier: Apache-2.0
#include "plugins/nfs/foreign_id.hpp"

#include <gtest/gtest.h>

namespace gantry::nfs {
namespace {

using plugin::Disposal;

struct Case {
  const char* id;
  const char* server;
  const char* share;
  const char* sub_dir;
  std::optional<Disposal> on_delete;
};

TEST(ForeignId, IsReadInAllItsForms) {
  for (const Case& c : std::vector<Case>{
           {"nas#vol#pvc-1", "nas", "vol", "pvc-1", {}},
           {"nas#vol#pvc-1#", "nas", "vol", "pvc-1", {}},
           {"nas#vol#pvc-1##", "nas", "vol", "pvc-1", {}},
           {"nas#vol/a#team/data#pvc-1#", "nas", "vol/a", "team/data", {}},
           {"nas#vol#team/data#pvc-1#retain", "nas", "vol", "team/data", Disposal::kRetain},
           {"nas#vol#pvc-1##Archive", "nas", "vol", "pvc-1", Disposal::kArchive},
           {"nas#vol#pvc-1##delete", "nas", "vol", "pvc-1", Disposal::kDelete},
           {"nas##pvc-1##", "nas", "", "pvc-1", {}},
           {"fd00::7#vol#pvc-1##", "fd00::7", "vol", "pvc-1", {}},
           {"nas#vol###", "nas", "vol", "", {}},
           {"nas/vol/pvc-1", "nas", "vol", "pvc-1", {}},
           {"nas/vol/a/b/pvc-1", "nas", "vol/a/b", "pvc-1", {}},
           {"nas//pvc-1", "nas", "", "pvc-1", {}}}) {
    const auto foreign = ParseForeignId(c.id);
    ASSERT_TRUE(foreign) << c.id;
    EXPECT_EQ(foreign->server, c.server) << c.id;
    EXPECT_EQ(foreign->share, c.share) << c.id;
    EXPECT_EQ(foreign->sub_dir, c.sub_dir) << c.id;
    EXPECT_EQ(foreign->on_delete, c.on_delete) << c.id;
  }
}

TEST(ForeignId, IsNotReadIntoAnythingElse) {
  for (const char* id : {"", "pvc-1", "nas#vol", "#vol#pvc-1", "nas/pvc-1", "/vol/pvc-1",
                         "nas/vol/", "nas#vol#a#b#c#d", "nas#vol#snap#snap#pvc-1", "5f3c-0a1b"}) {
    EXPECT_FALSE(ParseForeignId(id)) << id;
  }
}

class FindForeignTest : public ::testing::Test {
 protected:
  const Config config_ = *ParseConfig(
      R"({"shares": [{"server": "nas", "share": "/vol/a"}, {"server": "nas", "share": "/"},
                     {"server": "other", "share": "/vol/a"}]})");
  std::string At(std::string_view id, const std::map<std::string, std::string>& attributes = {}) {
    const auto volume = FindForeign(config_, id, attributes);
    if (!volume) return "nowhere";
    return volume->share->server + ":" + volume->share->share + " " + volume->sub_dir;
  }
};

TEST_F(FindForeignTest, ByServerAndShareOfTheId) {
  EXPECT_EQ(At("nas#vol/a#pvc-1##"), "nas:/vol/a pvc-1");
  EXPECT_EQ(At("other#/vol/a/#pvc-1##"), "other:/vol/a pvc-1");
  EXPECT_EQ(At("nas##pvc-1##"), "nas:/ pvc-1");
  EXPECT_EQ(At("nas/vol/a/pvc-1"), "nas:/vol/a pvc-1");
  EXPECT_EQ(At("nas#vol#pvc-1##"), "nowhere");
  EXPECT_EQ(At("third#vol/a#pvc-1##"), "nowhere");
}

TEST_F(FindForeignTest, ByAttributesWhateverTheIdIs) {
  EXPECT_EQ(At("by-hand", {{"server", "nas"}, {"share", "/vol/a"}}), "nas:/vol/a ");
  EXPECT_EQ(At("by-hand", {{"Server", "nas"}, {"SHARE", "/vol/a/"}, {"subdir", "/x/y"}}),
            "nas:/vol/a x/y");
  EXPECT_EQ(At("nas#vol/a#pvc-1##", {{"server", "other"}, {"share", "/vol/a"}}), "other:/vol/a ");
  EXPECT_EQ(At("by-hand", {{"server", "third"}, {"share", "/vol/a"}}), "nowhere");
  EXPECT_EQ(At("by-hand", {{"share", "/vol/a"}}), "nowhere");
}

TEST_F(FindForeignTest, OverlapsASharesOwnRootAndWhatLiesInIt) {
  const auto overlaps = [&](const char* id) {
    const auto volume = FindForeign(config_, id, {});
    return OverlappingShare(config_, *volume) != nullptr;
  };
  EXPECT_TRUE(overlaps("nas##vol##"));
  EXPECT_TRUE(overlaps("nas##vol/a##"));
  EXPECT_TRUE(overlaps("nas##vol/a/pvc-1##"));
  EXPECT_FALSE(overlaps("nas##vol/ab##"));
  EXPECT_FALSE(overlaps("nas##pvc-1##"));
  EXPECT_FALSE(overlaps("nas#vol/a#pvc-1##"));
  EXPECT_FALSE(overlaps("other#vol/a#pvc-1##"));
}

TEST_F(FindForeignTest, ItsRecordsHandleIsOneOfTheShare) {
  const auto volume = FindForeign(config_, "nas#vol/a#pvc-1##", {});
  ASSERT_TRUE(volume);
  const std::string handle = ForeignHandle(*volume, "nas#vol/a#pvc-1##");
  EXPECT_EQ(handle.size(), 41U);
  EXPECT_TRUE(handle.starts_with(volume->share->id + "-"));
  EXPECT_NE(handle, ForeignHandle(*volume, "nas#vol/a#pvc-2##"));
}

}  // namespace
}  // namespace gantry::nfs
