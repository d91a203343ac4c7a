// SPDX-License-Identifier: Apache-2.0
#include "host/services/kubelet_directory.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <climits>
#include <optional>
#include <stdexcept>

#include "host/base/temp_dir.hpp"

namespace gantry::services {
namespace {

class KubeletDirectoryTest : public ::testing::Test {
 protected:
  KubeletDirectoryTest() {
    std::filesystem::create_directory(temp_.path() / "real");
    std::filesystem::create_directory_symlink("real", temp_.path() / "link");
    auto directory = KubeletDirectory::Open(temp_.path() / "link");
    if (!directory) throw std::runtime_error(directory.error().message);
    directory_.emplace(std::move(*directory));
  }
  std::string Path(const std::string& rest) { return temp_.path().string() + rest; }

  base::TempDir temp_;
  std::optional<KubeletDirectory> directory_;
};

TEST_F(KubeletDirectoryTest, TakesBothNamesOfADirectoryBehindASymlink) {
  EXPECT_EQ(directory_->Relative(Path("/link/pods/x")).value(), "pods/x");
  EXPECT_EQ(directory_->Relative(Path("/real/pods/x")).value(), "pods/x");
  EXPECT_EQ(directory_->MountPoint("pods/x"), Path("/real/pods/x"));
}

TEST_F(KubeletDirectoryTest, CleansWhatIsHarmless) {
  EXPECT_EQ(directory_->Relative(Path("//link/./pods//x/")).value(), "pods/x");
}

TEST_F(KubeletDirectoryTest, RefusesWhatIsNotBeneathItAndNamesThePath) {
  for (const std::string& path :
       {Path("/link"), Path("/link/"), Path("/linked/x"), Path("/other"), std::string("/"),
        std::string(""), std::string("pods/x"), Path("/link/../other"), Path("/link/x/.."),
        Path("/link/a") + std::string(1, '\0') + "b",
        Path("/link/") + std::string(PATH_MAX, 'x')}) {
    const auto relative = directory_->Relative(path);
    ASSERT_FALSE(relative) << path;
    EXPECT_EQ(relative.error().code, base::Code::kInvalidArgument);
    EXPECT_THAT(relative.error().message, ::testing::HasSubstr(path.substr(0, 200)));
  }
}

TEST_F(KubeletDirectoryTest, DotsInNamesAreOrdinary) {
  EXPECT_EQ(directory_->Relative(Path("/link/..a/b..")).value(), "..a/b..");
}

TEST_F(KubeletDirectoryTest, MustBeThereAndNotBeTheRoot) {
  EXPECT_FALSE(KubeletDirectory::Open(temp_.path() / "missing"));
  EXPECT_FALSE(KubeletDirectory::Open("/"));
}

}  // namespace
}  // namespace gantry::services
