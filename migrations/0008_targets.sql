-- A job may make several students from one set of generators: one distill task for each target, numbered from 0.
alter table tasks add column target integer;
drop index tasks_once;
create unique index tasks_once on tasks (job, kind, coalesce(generator, -1), coalesce(target, 0));

-- What came of each target, as far as it has come: JSON, in the order of the targets. `result` is that of the first, once
-- all have succeeded.
alter table jobs add column results text not null default '[]';
update jobs set results = json_array(json_object(
    'number', 0,
    'by', case when json_extract(settings, '$.compression.ratio') is not null then 'ratio' end,
    'target', json_extract(settings, '$.compression.ratio'),
    'artifacts', json((select json_group_array(name) from artifacts where job = jobs.id and role in ('student', 'report'))),
    'result', json(result)))
where result is not null;
