-- A what-if test reads the groups of a window in the order in which they were decided, page by page. Without this it would
-- read and sort all groups there ever were, for each page.
create index event_group_by_time on event_group (detect_time, id);
