// SPDX-License-Identifier: Apache-2.0
// Reading directories.
#include <cephfs/libcephfs.h>
#include <dirent.h>

#include <cerrno>
#include <gantry/gantry.hpp>

#include "plugins/cephfs/datapath/caller.hpp"
#include "plugins/cephfs/datapath/convert.hpp"
#include "plugins/cephfs/datapath/data_path.hpp"

namespace gantry::cephfs {
namespace {

using std::chrono::steady_clock;

// Opens the directory where that has to be, and reads on when nothing is at hand. 0 or -errno.
int Fill(const std::shared_ptr<Client>& client, Inode* directory, const UserPerm* who,
         Listing* listing) {
  if (!listing->names.empty() || listing->eof) return 0;
  ceph_mount_info* const mount = client->get();
  if (!listing->stream) {
    ceph_dir_result* opened = nullptr;
    const int result = ceph_ll_opendir(mount, directory, &opened, who);
    if (result < 0) return result;
    listing->stream = std::make_shared<Stream>(client, opened);
    if (listing->after != 0) ceph_seekdir(mount, opened, static_cast<int64_t>(listing->after));
  }
  while (listing->names.size() < kListedMax) {
    dirent entry{};
    const int result = ceph_readdir_r(mount, listing->stream->get(), &entry);
    if (result < 0 && listing->names.empty()) return result;
    if (result <= 0) {
      listing->eof = result == 0;
      break;
    }
    listing->names.push_back({entry.d_name, FileId({entry.d_ino, listing->directory.snapshot}),
                              static_cast<uint64_t>(entry.d_off), DTTOIF(uint32_t{entry.d_type})});
  }
  return 0;
}

}  // namespace

Stream::~Stream() {
  if (auto* mount = client_->get()) (void)ceph_ll_releasedir(mount, stream_);
}

void CephDataPath::Readdir(gantry_op op, const gantry_fs_readdir& request) {
  const auto node = ToHandle(request.node);
  if (!node) return host_.done_error(host_.ctx, op, ESTALE);
  const auto now = steady_clock::now();
  auto known = request.cookie == 0 ? std::nullopt : listings_.Take(*node, request.cookie, now);
  if (!known) known = Listing{*node, request.cookie, nullptr, {}, false, {}};
  const auto listing = std::make_shared<Listing>(std::move(*known));
  Run(op, Lane::kNames, request.context, {}, [this, listing](const Mounted& at, const Caller& who) {
    const auto inode = at.inodes->Find(listing->directory);
    if (!inode) return Fail(inode.error());
    const int result = Fill(at.client, (*inode)->get(), who.get(), listing.get());
    if (result < 0) return Fail(result);
    listing->read_at = steady_clock::now();
    return Finish([this, listing](gantry_op done) { EmitListed(done, std::move(*listing)); });
  });
}

void CephDataPath::EmitListed(gantry_op op, Listing listing) {
  size_t taken = 0;
  for (const ListedName& name : listing.names) {
    gantry_fs_entry entry{};
    entry.name = ToStr(name.name);
    entry.fileid = name.fileid;
    entry.cookie = name.cookie;
    entry.type = name.type;
    if (host_.entry(host_.ctx, op, &entry) == 0) break;
    listing.after = name.cookie;
    ++taken;
  }
  listing.names.erase(listing.names.begin(), listing.names.begin() + static_cast<ptrdiff_t>(taken));
  listings_.Put(std::move(listing));
  Discard(listings_.TakeOld(steady_clock::now()));
  host_.done(host_.ctx, op);
}

// Closing a directory takes libcephfs' lock, so it is done on a thread.
void CephDataPath::Discard(std::vector<Listing> listings) {
  if (listings.empty()) return;
  jobs_.Submit(Background([listings = std::move(listings)]() mutable -> Finish {
    listings.clear();
    return [](gantry_op) {};
  }));
}

}  // namespace gantry::cephfs
