//! The answers of one section, worked out beforehand.
//!
//! A [`Table`] has one set of [`Rows`] for the plain case and one for every `range` and `regex` that the section names; rows are a route for
//! no type, a route for any type that is not spoken of, and one for each that is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::num::NonZeroU32;
use std::sync::Arc;

use regex::bytes::Regex;
use serde_json::{Map, Value};

use super::Layer;
use crate::database::{Classification, Database, NameBuffer};
use crate::id::{ConnectionId, HandlerId};
use crate::merge;
use crate::params;
use crate::retention;
use crate::route::{AttachmentRoute, ConnectionRef, Placement, Route};
use crate::tree::{Field, MonthRange, Section, Spec, pattern};
use crate::weight;

/// The most routes that one section may cost. Overrides beyond it are not asked; the schemas keep a document far below.
const MOST_ROUTES: usize = 1 << 16;
/// About how many bytes a compiled pattern takes.
const PATTERN: usize = 8 << 10;

/// What a table is made from.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub layers: &'a [Layer],
}

impl<'a> Sources<'a> {
    /// The first `count` layers alone.
    pub(super) fn first(self, count: usize) -> Self {
        Self { layers: self.layers.get(..count).unwrap_or(self.layers) }
    }

    /// Whether any layer but the first `before` speaks of a section.
    fn speaks(&self, before: usize, class: &str) -> bool {
        self.layers.iter().skip(before).any(|layer| layer.document.plan.speaks_of(class))
    }

    /// The owner of a handler among the first `count` layers.
    fn owner(&self, handler: &HandlerId, count: usize) -> Option<usize> {
        self.layers.iter().take(count).position(|layer| layer.document.attachments.contains_key(handler))
    }

    fn has_connection(&self, id: &ConnectionId, count: usize) -> bool {
        id.is_local() || self.layers.iter().take(count).any(|layer| layer.document.connections.contains_key(id))
    }
}

/// The section `class` of `layers` but the first `skip`, merged. Exceptions (`range`, `regex`) of who stands below the first lock are passed over.
pub(super) fn section(layers: &[Layer], skip: usize, class: &str) -> Option<Section> {
    let fixed = layers.iter().position(|layer| layer.document.locks.iter().any(|lock| lock.fixes_exceptions(class)));
    let mut merged = Value::Null;
    for (place, layer) in layers.iter().enumerate().skip(skip) {
        let Some(mut said) = layer.document.plan.of(class) else { continue };
        if let Value::Object(fields) = &mut said
            && fixed.is_some_and(|fixed| place > fixed)
        {
            fields.retain(|key, _| !matches!(key.as_str(), "range" | "regex"));
        }
        merge::overlay(&mut merged, &said);
    }
    // Wrapped, because a section is read out of a plan.
    Section::read(&Value::Object(Map::from_iter([(class.to_owned(), merged)])), class)
}

/// The first layer that locks a field, by its place: what is said to there is final.
pub(super) fn locked(layers: &[Layer], class: &str, key: Option<&str>, field: Field) -> Option<usize> {
    layers.iter().position(|layer| layer.document.locks.iter().any(|lock| lock.decides(class, key, field)))
}

/// A part of a section that is about some of its databases and goes before the rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Override {
    Range(MonthRange),
    Pattern(String),
}

/// What a section says of a type (or of none), in the databases of an override (or in others): the widest last.
pub(super) fn said<'a>(section: &'a Section, key: Option<&str>, over: Option<&Override>) -> [Option<&'a Spec>; 3] {
    let over = over.and_then(|over| match over {
        Override::Range(range) => section.ranges.get(range),
        Override::Pattern(pattern) => section.patterns.get(pattern),
    });
    [over, key.and_then(|key| section.types.get(key)), Some(&section.whole)]
}

fn spec(section: &Section, key: Option<&str>, over: Option<&Override>) -> Spec {
    said(section, key, over).into_iter().flatten().fold(Spec::default(), |spec, wider| spec.over(wider))
}

/// The routes of a section's databases.
pub(super) struct Table {
    pub class: &'static str,
    plain: Rows,
    ranges: Box<[(MonthRange, Rows)]>,
    patterns: Box<[(Regex, Rows)]>,
    /// Whether a route refers to what is not there, and may change when it comes.
    dangling: bool,
}

/// The routes of a section for one kind of its databases.
pub(super) struct Rows {
    pub over: Option<Override>,
    untyped: Arc<Route>,
    other: Arc<Route>,
    /// In the order of their names.
    types: Box<[(Box<str>, Arc<Route>)]>,
}

impl Rows {
    pub(super) fn route(&self, key: Option<&str>) -> &Arc<Route> {
        let Some(key) = key else { return &self.untyped };
        let place = self.types.binary_search_by(|(own, _)| (**own).cmp(key)).ok();
        place.and_then(|place| self.types.get(place)).map_or(&self.other, |(_, route)| route)
    }
}

impl Rows {
    /// About how many bytes it takes beside its own.
    fn weight(&self) -> usize {
        let types = self.types.iter().map(|(key, route)| size_of_val(&**key) + 32 + weight::route(route));
        let of_none = if Arc::ptr_eq(&self.untyped, &self.other) { 0 } else { weight::route(&self.untyped) };
        types.sum::<usize>() + of_none + weight::route(&self.other)
    }
}

impl Table {
    /// `before`: what the first layers made of it; routes that are still the same are shared.
    fn index(
        sources: Sources<'_>,
        class: &'static str,
        classification: Option<Classification>,
        before: Option<&Self>,
    ) -> Self {
        let whole = section(sources.layers, 0, class).unwrap_or_default();
        let locks = sources.layers.iter().any(|layer| !layer.document.locks.is_empty());
        let mut builder = Builder {
            sources,
            class,
            classification,
            section: &whole,
            before: before.map(|before| &before.plain),
            views: BTreeMap::new(),
            locks: locks.then(BTreeMap::new),
            dangling: false,
        };
        let most = MOST_ROUTES / (whole.types.len() + 2);
        let plain = builder.rows(None);
        let ranges: Box<[_]> =
            whole.ranges.keys().take(most).map(|range| (*range, builder.rows(Some(Override::Range(*range))))).collect();
        let compiled = whole.patterns.keys().filter_map(|key| Some((key, pattern(key).ok()?)));
        let patterns = compiled
            .take(most.saturating_sub(ranges.len()))
            .map(|(key, regex)| (regex, builder.rows(Some(Override::Pattern(key.clone())))))
            .collect();
        let dangling = builder.dangling;
        Self { class, dangling, plain, ranges, patterns }
    }

    /// About how many bytes it takes.
    fn weight(&self) -> usize {
        let exceptions = self.ranges.iter().map(|(_, rows)| rows).chain(self.patterns.iter().map(|(_, rows)| rows));
        let patterns = self.patterns.len() * PATTERN;
        size_of::<Self>()
            + self.plain.weight()
            + exceptions.map(|rows| size_of::<Rows>() + rows.weight()).sum::<usize>()
            + patterns
    }

    /// The rows that apply to `database`.
    pub(super) fn rows(&self, database: &Database) -> &Rows {
        let range = database.month().and_then(|month| self.ranges.iter().find(|(range, _)| range.holds(month)));
        if let Some((_, rows)) = range {
            return rows;
        }
        if self.patterns.is_empty() {
            return &self.plain;
        }
        let matching = NameBuffer::of(database)
            .and_then(|name| self.patterns.iter().find(|(regex, _)| regex.is_match(name.as_bytes())));
        matching.map_or(&self.plain, |(_, rows)| rows)
    }
}

/// What the owner of a handler and those above it say, and what those below it say.
type Views = (Section, Section);

struct Builder<'a> {
    sources: Sources<'a>,
    class: &'static str,
    classification: Option<Classification>,
    section: &'a Section,
    before: Option<&'a Rows>,
    /// By the place of the owner, and the number of layers that count.
    views: BTreeMap<(usize, usize), Views>,
    /// Where there are locks: the section as so many layers have it.
    locks: Option<BTreeMap<usize, Section>>,
    /// Whether anything was referred to that is not there.
    dangling: bool,
}

impl Builder<'_> {
    fn rows(&mut self, over: Option<Override>) -> Rows {
        let mut types = Vec::new();
        let mut untyped = self.route(None, over.as_ref());
        let locks = self.sources.layers.iter().flat_map(|layer| &layer.document.locks);
        let locked_types = locks.filter_map(|lock| lock.of_type(self.class));
        let keys: BTreeSet<&str> = self.section.types.keys().map(String::as_str).chain(locked_types).collect();
        for key in keys {
            let route = self.route(Some(key), over.as_ref());
            let other = match &route.connection {
                ConnectionRef::Id(id) => Some(id.clone()),
                ConnectionRef::Local if route.dangling_connection.is_some() => None,
                ConnectionRef::Local => ConnectionId::parse("local").ok(),
            };
            untyped
                .others
                .extend(other.filter(|id| route.connection != untyped.connection && !untyped.others.contains(id)));
            types.push((key.into(), self.shared(Some(key), route)));
        }
        // A lock may hold for every type, and not for none.
        let other = if self.locks.is_some() { self.route(Some(""), over.as_ref()) } else { untyped.clone() };
        let other = self.shared(Some(""), Route { others: Vec::new(), ..other });
        let untyped = if untyped == *other { other.clone() } else { self.shared(None, untyped) };
        Rows { over, untyped, other, types: types.into() }
    }

    /// The route itself, or the same one of before.
    fn shared(&self, key: Option<&str>, route: Route) -> Arc<Route> {
        let before = self.before.map(|before| before.route(key)).filter(|before| ***before == route);
        before.map_or_else(|| Arc::new(route), Arc::clone)
    }

    /// What is said, of each locked field what is said to the lock.
    fn spec(&mut self, key: Option<&str>, over: Option<&Override>) -> Spec {
        let mut said = spec(self.section, key, over);
        let (layers, class) = (self.sources.layers, self.class);
        let Some(sections) = &mut self.locks else { return said };
        for field in Field::ALL {
            let Some(place) = locked(layers, class, key, field).filter(|place| place + 1 < layers.len()) else {
                continue;
            };
            let to_lock = sections
                .entry(place + 1)
                .or_insert_with(|| section(layers.get(..=place).unwrap_or(layers), 0, class).unwrap_or_default());
            field.carry_over(&mut said, &spec(to_lock, key, over));
        }
        said
    }

    fn route(&mut self, key: Option<&str>, over: Option<&Override>) -> Route {
        let spec = self.spec(key, over);
        let mut route = Route::local(self.classification);
        if self.class == retention::CLASS {
            route.retention_days = spec.retention_days.and_then(NonZeroU32::new);
        }
        // What a lock keeps may not be given another meaning by who defines an id that it dangles at.
        let counting = |field| to_lock(self.sources.layers, self.class, key, field).len();
        match spec.connection {
            Some(id) if !self.sources.has_connection(&id, counting(Field::Connection)) => {
                route.dangling_connection = Some(id)
            }
            Some(id) if !id.is_local() => route.connection = ConnectionRef::Id(id),
            _ => {}
        }
        self.dangling |= route.dangling_connection.is_some();
        for id in spec.secondary.unwrap_or_default() {
            if !self.sources.has_connection(&id, counting(Field::Secondary)) {
                self.dangling = true;
            } else if !route.connection.is(&id) && !route.secondary.contains(&id) {
                route.secondary.push(id);
            }
        }
        let Some(id) = spec.handler.filter(|id| id.as_str() != "local") else { return route };
        let defined = self.sources.owner(&id, counting(Field::Handler)).and_then(|owner| {
            let layer = self.sources.layers.get(owner)?;
            // By its id there, so that it is one text for all.
            let (id, config) = layer.document.attachments.get_key_value(&id)?;
            Some((owner, layer.level, id.clone(), config))
        });
        let Some((owner, level, id, config)) = defined else {
            self.dangling = true;
            route.dangling = Some(id);
            return route;
        };
        let placement = if spec.stub == Some(true) { Placement::Stub } else { Placement::External };
        let params = self.params(owner, &config.settings, key, over);
        let kind = config.handler.clone();
        let delete = spec.delete == Some(true);
        route.attachment = Some(AttachmentRoute { handler_id: id, level, kind, params, placement, delete });
        route
    }

    fn params(
        &mut self,
        owner: usize,
        settings: &Map<String, Value>,
        key: Option<&str>,
        over: Option<&Override>,
    ) -> Map<String, Value> {
        let (sources, class) = (self.sources, self.class);
        let layers = to_lock(sources.layers, class, key, Field::Params);
        let (above, below) = self.views.entry((owner, layers.len())).or_insert_with(|| views(layers, class, owner));
        let mut params = params::own(&spec(above, key, over).params.unwrap_or_default());
        params::descend(&mut params, settings, &spec(below, key, over).params.unwrap_or_default());
        // Without room for more.
        params.into_iter().collect()
    }
}

/// The section as the layers to `owner` have it, and as those after it have it.
pub(super) fn views(layers: &[Layer], class: &str, owner: usize) -> Views {
    let own = (owner + 1).min(layers.len());
    let above = section(layers.get(..own).unwrap_or(layers), 0, class);
    (above.unwrap_or_default(), section(layers, own, class).unwrap_or_default())
}

/// The layers that count for a field: to its lock, where there is one.
pub(super) fn to_lock<'a>(layers: &'a [Layer], class: &str, key: Option<&str>, field: Field) -> &'a [Layer] {
    locked(layers, class, key, field).and_then(|place| layers.get(..=place)).unwrap_or(layers)
}

/// Where an answer stands.
pub(super) enum Place<'plan, 'asked> {
    /// Always local.
    Local(&'plan Route),
    /// In a table, under a document type or what stands for one.
    Table { table: &'plan Table, key: Option<&'asked str> },
}

/// The tables of databases that belong to accounts.
pub(crate) struct AccountTables {
    modb: Arc<Table>,
    yodb: Arc<Table>,
    account: Arc<Table>,
    selectors: Arc<Table>,
}

impl AccountTables {
    /// `shared`: the tables that the first layers, so many of them, had.
    pub(super) fn index(sources: Sources<'_>, shared: Option<(&Self, usize)>) -> Self {
        let table = |class: &'static str, classification, of: fn(&Self) -> &Arc<Table>| match shared
            .map(|(tables, before)| (of(tables), before))
        {
            Some((table, before)) if !table.dangling && !sources.speaks(before, class) => table.clone(),
            shared => {
                let before = shared.map(|(table, _)| &**table);
                Arc::new(Table::index(sources, class, Some(classification), before))
            }
        };
        Self {
            modb: table("modb", Classification::Modb, |tables| &tables.modb),
            yodb: table("yodb", Classification::Yodb, |tables| &tables.yodb),
            account: table("account", Classification::Account, |tables| &tables.account),
            selectors: table("account", Classification::ResourceSelectors, |tables| &tables.selectors),
        }
    }

    /// About how many bytes they take beside those of `shared`.
    pub(crate) fn weight(&self, shared: Option<&Self>) -> usize {
        let tables =
            |tables: &'_ Self| [&tables.modb, &tables.yodb, &tables.account, &tables.selectors].map(Arc::clone);
        let before = shared.map(tables);
        let own = tables(self).into_iter().enumerate().filter(|(place, table)| {
            before.as_ref().and_then(|before| before.get(*place)).is_none_or(|before| !Arc::ptr_eq(before, table))
        });
        own.map(|(_, table)| table.weight()).sum()
    }

    pub(super) fn of(&self, classification: Option<Classification>) -> Option<&Table> {
        match classification {
            Some(Classification::Modb) => Some(&self.modb),
            Some(Classification::Yodb) => Some(&self.yodb),
            Some(Classification::Account) => Some(&self.account),
            Some(Classification::ResourceSelectors) => Some(&self.selectors),
            _ => None,
        }
    }
}

/// The tables of databases that belong to the system.
pub(crate) struct SystemTables {
    /// `plan.system`, once for every class that it answers for.
    by_class: HashMap<Option<Classification>, Table>,
    aggregate: Option<Table>,
    /// The databases that the aggregate section is about, if it names any.
    names: Option<BTreeSet<String>>,
    always_local: HashMap<Option<Classification>, Route>,
    unknown: Route,
}

impl SystemTables {
    /// `sources`: the layers to the system's. `shared`: the tables that the first layers, so many of them, had.
    pub(super) fn index(sources: Sources<'_>, shared: Option<(&Arc<Self>, usize)>) -> Arc<Self> {
        use Classification::{Aggregate, Deprecated, External, Numbers, Provisioner, Ratedeck, System};
        if let Some((tables, before)) = shared
            && !tables.dangling()
            && !["system", "aggregate"].into_iter().any(|class| sources.speaks(before, class))
        {
            return tables.clone();
        }
        let classes = [External, Deprecated, Ratedeck, System, Aggregate, Numbers, Provisioner].map(Some);
        let classes = classes.into_iter().chain([None]);
        let by_class = classes.map(|class| (class, Table::index(sources, "system", class, None))).collect();
        let aggregate = section(sources.layers, 0, "aggregate");
        Arc::new(Self {
            by_class,
            names: aggregate.as_ref().and_then(|section| section.names.clone()),
            aggregate: aggregate.map(|_| Table::index(sources, "aggregate", Some(Aggregate), None)),
            always_local: [System, Aggregate].map(|class| (Some(class), Route::local(Some(class)))).into(),
            unknown: Route::local(None),
        })
    }

    /// About how many bytes they take.
    pub(crate) fn weight(&self) -> usize {
        self.by_class.values().chain(&self.aggregate).map(Table::weight).sum()
    }

    fn dangling(&self) -> bool {
        self.by_class.values().chain(&self.aggregate).any(|table| table.dangling)
    }

    pub(super) fn place<'plan, 'asked>(
        &'plan self,
        database: &'asked Database,
        doc_type: Option<&'asked str>,
        owned: bool,
    ) -> Place<'plan, 'asked> {
        let Database::Named(name) = database else {
            return Place::Local(&self.unknown);
        };
        let name = name.as_ref();
        let classification = database.classification();
        if matches!(name, "system_config" | "system_data" | "services") {
            return Place::Local(self.always_local.get(&classification).unwrap_or(&self.unknown));
        }
        if classification == Some(Classification::Aggregate)
            && !owned
            && let Some(table) = &self.aggregate
            && (doc_type.is_some() || self.names.as_ref().is_none_or(|names| names.contains(name)))
        {
            return Place::Table { table, key: doc_type };
        }
        let key = if classification == Some(Classification::Numbers) { "numbers" } else { name };
        match self.by_class.get(&classification) {
            Some(table) => Place::Table { table, key: Some(key) },
            None => Place::Local(&self.unknown),
        }
    }
}
