// The kernel's PAGEMAP_SCAN and the asynchronous write protection of userfaultfd, both since Linux 6.7
// (include/uapi/linux/fs.h, include/uapi/linux/userfaultfd.h). Spelled out here because the headers of
// Debian 12 are older than the kernels that run on it. Plain C: also part of the filter that CRIU loads.
#pragma once

#include <linux/types.h>
#include <sys/ioctl.h>

struct perdure_page_region {
  __u64 start;
  __u64 end;
  __u64 categories;
};

struct perdure_pm_scan_arg {
  __u64 size;
  __u64 flags;
  __u64 start;
  __u64 end;
  __u64 walk_end;
  __u64 vec;
  __u64 vec_len;
  __u64 max_pages;
  __u64 category_inverted;
  __u64 category_mask;
  __u64 category_anyof_mask;
  __u64 return_mask;
};

#define PERDURE_PAGEMAP_SCAN _IOWR('f', 16, struct perdure_pm_scan_arg)

#define PERDURE_PAGE_IS_WPALLOWED (1u << 0)
#define PERDURE_PAGE_IS_WRITTEN (1u << 1)
#define PERDURE_PAGE_IS_FILE (1u << 2)
#define PERDURE_PAGE_IS_PRESENT (1u << 3)
#define PERDURE_PAGE_IS_SWAPPED (1u << 4)
#define PERDURE_PAGE_IS_PFNZERO (1u << 5)

#define PERDURE_PM_SCAN_WP_MATCHING (1u << 0)
#define PERDURE_PM_SCAN_CHECK_WPASYNC (1u << 1)

#define PERDURE_UFFD_FEATURE_WP_UNPOPULATED (1u << 13)
#define PERDURE_UFFD_FEATURE_WP_ASYNC (1u << 15)
