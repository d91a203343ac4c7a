// SPDX-License-Identifier: Apache-2.0
// What the CSI specification asks of a controller beyond the conformance suite, against a real
// server: one volume a name whoever asks and however often, listings while volumes come and go,
// names at their limits, and directories that nobody may have.
#include <atomic>
#include <barrier>
#include <fstream>

#include "tests/integration/nfs_lab.hpp"

namespace gantry::itest {
namespace {

constexpr int kUid = 61031;
constexpr int kOtherUid = 61032;
constexpr int kRaceRounds = 60;
constexpr int kStableVolumes = 40;
constexpr int kPageEntries = 7;
constexpr int kListingsMin = 12;
constexpr int kChurnsMin = 60;
constexpr int kTriesMax = 20;

// One server for all tests, a share for each.
class NfsController : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    lab::GaneshaOptions options;
    options.exports = {"race", "retry", "paging", "names", "hostile", "before"};
    auto server = lab::Ganesha::Start(options);
    ASSERT_TRUE(server) << server.error().message;
    server_ = new lab::Ganesha(std::move(*server));
  }
  static void TearDownTestSuite() {
    delete server_;
    server_ = nullptr;
  }

  void Begin(const std::string& share) {
    root_ = server_->root(share);
    backend_ = {server_->port(), server_->mount_port(), "/" + share};
    host_ = StartHost(NfsBackend("nfs", kUid, {backend_}));
    ASSERT_TRUE(host_);
    controller_ = std::make_unique<Controller>(*host_);
  }

  // As a CO does it: ABORTED is asked again.
  static Controller::Created CreateInTheEnd(Controller& controller, const std::string& name) {
    auto created = controller.Create(name);
    for (int i = 0; i < kTriesMax && created.code() == grpc::StatusCode::ABORTED; ++i) {
      created = controller.Create(name);
    }
    return created;
  }
  static Controller::Deleted DeleteInTheEnd(Controller& controller, const std::string& id) {
    auto deleted = controller.Delete(id);
    for (int i = 0; i < kTriesMax && deleted.code() == grpc::StatusCode::ABORTED; ++i) {
      deleted = controller.Delete(id);
    }
    return deleted;
  }

  // The share is again as it was, once the trash task has taken away what a refusal has made.
  void ExpectUnchanged(const std::map<std::string, std::string>& before) {
    EXPECT_TRUE(WaitFor([&] { return TreeOf(root_) == before; }))
        << "before: " << testing::PrintToString(before)
        << "\nnow: " << testing::PrintToString(TreeOf(root_)) << "\n"
        << host_->Log();
  }

  static lab::Ganesha* server_;
  std::filesystem::path root_;
  ShareAt backend_;
  std::unique_ptr<lab::Gantryd> host_;
  std::unique_ptr<Controller> controller_;
};
lab::Ganesha* NfsController::server_ = nullptr;

template <class Call>
bool IsAnswer(const Call& call) {
  return call.ok() || call.code() == grpc::StatusCode::ABORTED;
}

TEST_F(NfsController, TwoGantrydCreatingOneNameMakeOneVolume) {
  ASSERT_NO_FATAL_FAILURE(Begin("race"));
  const auto other_host = StartHost(NfsBackend("nfs", kOtherUid, {backend_}));
  ASSERT_TRUE(other_host);
  Controller other(*other_host);
  Controller* const controllers[] = {controller_.get(), &other};
  int aborted = 0;
  for (int round = 0; round < kRaceRounds && !HasFailure(); ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    const std::string name = "pvc-" + std::to_string(round);
    Controller::Created created[2];
    Controller::Deleted deleted[2];
    std::barrier start(2);
    const auto both = [&](const auto& work) {
      std::thread first([&] { work(0); });
      work(1);
      first.join();
    };
    both([&](int i) {
      start.arrive_and_wait();
      created[i] = controllers[i]->Create(name);
    });
    for (int i = 0; i < 2; ++i) {
      EXPECT_TRUE(IsAnswer(created[i])) << created[i].message();
      aborted += created[i].ok() ? 0 : 1;
      created[i] = CreateInTheEnd(*controllers[i], name);
      ASSERT_TRUE(created[i].ok()) << created[i].message();
    }
    const std::string id = created[0].reply.volume().volume_id();
    EXPECT_EQ(created[1].reply.volume().volume_id(), id);
    EXPECT_EQ(created[1].reply.volume().capacity_bytes(), kVolumeBytes);
    ExpectExactly(root_, {{name, HandleOf(id)}});

    // One makes it again while the other deletes it: it is there whole, or not at all.
    both([&](int i) {
      start.arrive_and_wait();
      if (i == 0) deleted[0] = controllers[0]->Delete(id);
      if (i == 1) created[1] = controllers[1]->Create(name);
    });
    EXPECT_TRUE(IsAnswer(deleted[0])) << deleted[0].message();
    EXPECT_TRUE(IsAnswer(created[1])) << created[1].message();
    created[1] = CreateInTheEnd(other, name);
    ASSERT_TRUE(created[1].ok()) << created[1].message();
    ExpectExactly(root_, {{name, HandleOf(id)}});

    both([&](int i) {
      start.arrive_and_wait();
      deleted[i] = controllers[i]->Delete(id);
    });
    for (int i = 0; i < 2; ++i) {
      EXPECT_TRUE(IsAnswer(deleted[i])) << deleted[i].message();
      EXPECT_TRUE(DeleteInTheEnd(*controllers[i], id).ok());
    }
    ExpectExactly(root_, {});
  }
  std::cout << aborted << " of " << 2 * kRaceRounds << " creating calls were ABORTED\n";
  EXPECT_TRUE(WaitFor([&] { return NamesIn(root_ / ".gantry/trash").empty(); }))
      << testing::PrintToString(TreeOf(root_ / ".gantry"));
  EXPECT_EQ(NamesIn(root_ / ".gantry/attempts"), Names{});
}

TEST_F(NfsController, ARetryWithOtherTopologySecretsAndHintsIsTheSameVolume) {
  ASSERT_NO_FATAL_FAILURE(Begin("retry"));
  const auto first = controller_->Create("pvc-retry");
  ASSERT_TRUE(first.ok()) << first.message();
  const std::string id = first.reply.volume().volume_id();

  auto request = CreateRequest("pvc-retry", {{"csi.storage.k8s.io/pvc/name", "claim"},
                                             {"csi.storage.k8s.io/pvc/namespace", "team"},
                                             {"csi.storage.k8s.io/pv/name", "pv-1"}});
  (*request.mutable_secrets())["password"] = "other";
  auto* topology = request.mutable_accessibility_requirements();
  (*topology->add_requisite()->mutable_segments())["example.com/zone"] = "z1";
  (*topology->add_preferred()->mutable_segments())["example.com/zone"] = "z1";
  const auto again = controller_->Create(request);
  ASSERT_TRUE(again.ok()) << again.message();
  EXPECT_EQ(again.reply.volume().volume_id(), id);
  ExpectExactly(root_, {{"pvc-retry", HandleOf(id)}});

  auto ranged = CreateRequest("pvc-retry");
  ranged.mutable_capacity_range()->set_required_bytes(kVolumeBytes / 2);
  ranged.mutable_capacity_range()->set_limit_bytes(kVolumeBytes * 2);
  EXPECT_TRUE(controller_->Create(ranged).ok());

  const auto larger = controller_->Create(CreateRequest("pvc-retry", {}, 2 * kVolumeBytes));
  EXPECT_EQ(larger.code(), grpc::StatusCode::ALREADY_EXISTS) << larger.message();
  const auto smaller = controller_->Create(CreateRequest("pvc-retry", {}, kVolumeBytes / 2));
  EXPECT_EQ(smaller.code(), grpc::StatusCode::ALREADY_EXISTS) << smaller.message();
  const auto other = controller_->Create("pvc-retry", {{"onDelete", "retain"}});
  EXPECT_EQ(other.code(), grpc::StatusCode::ALREADY_EXISTS) << other.message();
  ExpectExactly(root_, {{"pvc-retry", HandleOf(id)}});
}

TEST_F(NfsController, AListingShowsEveryStableVolumeOnceWhileOthersComeAndGo) {
  ASSERT_NO_FATAL_FAILURE(Begin("paging"));
  Names stable;
  for (int i = 0; i < kStableVolumes; ++i) {
    const auto created = controller_->Create("stable-" + std::to_string(i));
    ASSERT_TRUE(created.ok()) << created.message();
    stable.insert(created.reply.volume().volume_id());
  }
  std::atomic<bool> over = false;
  std::atomic<int> churned = 0;
  const auto churn = [&](int who) {
    Controller mine(*host_);
    for (int i = 0; !over; ++i) {
      const auto created =
          mine.Create("churn-" + std::to_string(who) + "-" + std::to_string(i % 50));
      EXPECT_TRUE(created.ok()) << created.message();
      const auto deleted = mine.Delete(created.reply.volume().volume_id());
      EXPECT_TRUE(deleted.ok()) << deleted.message();
      ++churned;
    }
  };
  std::thread churners[] = {std::thread(churn, 0), std::thread(churn, 1)};
  const auto end = std::chrono::steady_clock::now() + kSettleMsMax;
  for (int listing = 0; (listing < kListingsMin || churned < kChurnsMin) && !HasFailure() &&
                        std::chrono::steady_clock::now() < end;
       ++listing) {
    std::multiset<std::string> seen;
    std::string token;
    int pages = 0;
    do {
      const auto page = controller_->List(kPageEntries, token);
      EXPECT_TRUE(page.ok()) << page.message();
      if (!page.ok()) break;
      EXPECT_LE(page.reply.entries_size(), kPageEntries);
      for (const auto& entry : page.reply.entries()) seen.insert(entry.volume().volume_id());
      token = page.reply.next_token();
      ++pages;
    } while (!token.empty() && pages < 2 * kStableVolumes);
    for (const auto& id : stable) EXPECT_EQ(seen.count(id), 1U) << id;
    EXPECT_GE(pages, kStableVolumes / kPageEntries);
  }
  over = true;
  for (auto& churner : churners) churner.join();
  EXPECT_GE(churned, kChurnsMin);
  const auto all = controller_->List();
  ASSERT_TRUE(all.ok()) << all.message();
  Names left;
  for (const auto& entry : all.reply.entries()) left.insert(entry.volume().volume_id());
  EXPECT_EQ(left, stable);
}

TEST_F(NfsController, NamesOf128BytesOfUnicodeMakeVolumesWithShortIds) {
  ASSERT_NO_FATAL_FAILURE(Begin("names"));
  std::string wide;
  for (int i = 0; i < 32; ++i) wide += "\xF0\x9F\x93\xA6";  // U+1F4E6, four bytes each.
  std::string mixed;
  for (int i = 0; i < 64; ++i) mixed += i % 2 == 0 ? "\xC3\xA9" : "\xD0\x96";
  std::string odd = "a b\"c\\d'e$f*g?h:i|j<k>l%m;n&o/../p";
  odd.resize(128, '~');
  const std::string plain(128, 'x');
  const std::string almost = plain.substr(1) + "y";
  Live live;
  Names ids;
  for (const auto& name : {wide, mixed, odd, plain, almost, std::string("."), std::string(".."),
                           std::string(".gantry"), std::string("=claim"), std::string(" ")}) {
    const auto created = controller_->Create(name);
    ASSERT_TRUE(created.ok()) << name << ": " << created.message();
    const std::string id = created.reply.volume().volume_id();
    EXPECT_LE(id.size(), 128U);
    EXPECT_TRUE(ids.insert(id).second) << name;
    EXPECT_EQ(controller_->Create(name).reply.volume().volume_id(), id) << name;
    live[created.reply.volume().volume_context().at("subDir")] = HandleOf(id);
  }
  ExpectExactly(root_, live);
  const auto longer = controller_->Create(std::string(129, 'x'));
  EXPECT_EQ(longer.code(), grpc::StatusCode::INVALID_ARGUMENT) << longer.message();
  for (const auto& id : ids) EXPECT_TRUE(controller_->Delete(id).ok()) << id;
  ExpectExactly(root_, {});
}

TEST_F(NfsController, DirectoriesThatNobodyMayHaveAreRefusedAndNothingChanges) {
  ASSERT_NO_FATAL_FAILURE(Begin("hostile"));
  const base::TempDir outside;
  std::ofstream(outside.path() / "secret") << "outside";
  std::filesystem::create_directory_symlink(outside.path(), root_ / "link");
  std::filesystem::create_directory_symlink("..", root_ / "up");
  std::ofstream(root_ / "file") << "a file";
  std::filesystem::create_directories(root_ / "dir");
  const auto taken = controller_->Create("pvc-taken", {{"subDir", "taken/here"}});
  ASSERT_TRUE(taken.ok()) << taken.message();
  std::ofstream(root_ / "taken/here/data") << "data";
  const auto before = TreeOf(root_);

  const std::map<std::string, grpc::StatusCode> refused = {
      {"..", grpc::StatusCode::INVALID_ARGUMENT},
      {".", grpc::StatusCode::INVALID_ARGUMENT},
      {"", grpc::StatusCode::INVALID_ARGUMENT},
      {"../other", grpc::StatusCode::INVALID_ARGUMENT},
      {"dir/../../other", grpc::StatusCode::INVALID_ARGUMENT},
      {"dir/..", grpc::StatusCode::INVALID_ARGUMENT},
      {"dir//x", grpc::StatusCode::INVALID_ARGUMENT},
      {"dir/", grpc::StatusCode::INVALID_ARGUMENT},
      {"/etc", grpc::StatusCode::INVALID_ARGUMENT},
      {"/", grpc::StatusCode::INVALID_ARGUMENT},
      {"link", grpc::StatusCode::INVALID_ARGUMENT},
      {"link/x", grpc::StatusCode::INVALID_ARGUMENT},
      {"up/x", grpc::StatusCode::INVALID_ARGUMENT},
      {"file", grpc::StatusCode::INVALID_ARGUMENT},
      {"file/x", grpc::StatusCode::INVALID_ARGUMENT},
      {".gantry", grpc::StatusCode::INVALID_ARGUMENT},
      {".gantry/volumes/x", grpc::StatusCode::INVALID_ARGUMENT},
      {"dir/.gantry-trash-x", grpc::StatusCode::INVALID_ARGUMENT},
      {"dir/=claim", grpc::StatusCode::INVALID_ARGUMENT},
      {"dir/a\nb", grpc::StatusCode::INVALID_ARGUMENT},
      {std::string(256, 'x'), grpc::StatusCode::INVALID_ARGUMENT},
      {"${pvc.metadata.name}", grpc::StatusCode::INVALID_ARGUMENT},
      {"${no.such}", grpc::StatusCode::INVALID_ARGUMENT},
      {"${pvc.metadata.name", grpc::StatusCode::INVALID_ARGUMENT},
      {"taken", grpc::StatusCode::FAILED_PRECONDITION},
      {"taken/here", grpc::StatusCode::FAILED_PRECONDITION},
      {"taken/here/below", grpc::StatusCode::FAILED_PRECONDITION},
  };
  int number = 0;
  for (const auto& [sub_dir, code] : refused) {
    SCOPED_TRACE("subDir \"" + sub_dir + "\"");
    const std::string name = "pvc-bad-" + std::to_string(number++);
    const auto created = controller_->Create(name, {{"subDir", sub_dir}});
    EXPECT_EQ(created.code(), code) << created.message();
    EXPECT_THAT(created.status.error_message(), testing::HasSubstr("subDir"));
    const auto again = controller_->Create(name, {{"subDir", sub_dir}});
    EXPECT_EQ(again.code(), code) << again.message();
  }
  for (const std::string value : {"..", "a/b", ".gantry", ""}) {
    const auto created = controller_->Create(
        "pvc-hint", {{"subDir", "${pvc.metadata.name}"}, {"csi.storage.k8s.io/pvc/name", value}});
    EXPECT_EQ(created.code(), grpc::StatusCode::INVALID_ARGUMENT)
        << '"' << value << "\": " << created.message();
  }
  ExpectUnchanged(before);
  EXPECT_EQ(NamesIn(outside.path()), Names{"secret"});

  // Not refused: beside a volume, and what only looks alike.
  for (const std::string sub_dir : {"taken/there", "takenhere", "dir/..x", "dir/a/b/c"}) {
    const auto created = controller_->Create("pvc-" + sub_dir, {{"subDir", sub_dir}});
    EXPECT_TRUE(created.ok()) << sub_dir << ": " << created.message();
    EXPECT_TRUE(std::filesystem::is_directory(root_ / sub_dir)) << sub_dir;
    EXPECT_TRUE(controller_->Delete(created.reply.volume().volume_id()).ok());
    EXPECT_FALSE(std::filesystem::exists(root_ / sub_dir)) << sub_dir;
  }
  EXPECT_TRUE(std::filesystem::exists(root_ / "taken/here/data"));
}

TEST_F(NfsController, ADirectoryThatWasThereBeforeOutlivesItsVolumeWithItsData) {
  ASSERT_NO_FATAL_FAILURE(Begin("before"));
  std::filesystem::create_directories(root_ / "old/place");
  std::ofstream(root_ / "old/place/data") << "older than the volume";
  const auto before = TreeOf(root_ / "old");
  for (const std::string on_delete : {"delete", "archive", "retain"}) {
    const auto created =
        controller_->Create("pvc-" + on_delete, {{"subDir", "old/place"}, {"onDelete", on_delete}});
    ASSERT_TRUE(created.ok()) << created.message();
    const auto deleted = controller_->Delete(created.reply.volume().volume_id());
    ASSERT_TRUE(deleted.ok()) << deleted.message();
    EXPECT_EQ(TreeOf(root_ / "old"), before);
  }
  // Replaced by somebody while it was a volume's: what is there now is theirs.
  const auto created = controller_->Create("pvc-new", {{"subDir", "new"}});
  ASSERT_TRUE(created.ok()) << created.message();
  std::filesystem::rename(root_ / "new", root_ / "moved");
  std::filesystem::create_directory(root_ / "new");
  std::ofstream(root_ / "new/data") << "somebody's";
  ASSERT_TRUE(server_->Restart());  // It has the old one in its cache.
  const auto deleted = controller_->Delete(created.reply.volume().volume_id());
  ASSERT_TRUE(deleted.ok()) << deleted.message();
  EXPECT_EQ(TreeOf(root_ / "new"),
            (std::map<std::string, std::string>{{"data", "file somebody's"}}));
  EXPECT_TRUE(std::filesystem::exists(root_ / "moved"));
  EXPECT_TRUE(WaitFor([&] { return NamesIn(root_ / ".gantry/trash").empty(); }));
  EXPECT_EQ(NamesIn(root_ / ".gantry/volumes"), Names{});
}

}  // namespace
}  // namespace gantry::itest
