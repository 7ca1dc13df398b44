-- The databases of the jobs besides user_activity, whose own comes from POSTGRES_DB.
CREATE DATABASE analytics;
CREATE DATABASE warehouse;
CREATE DATABASE events;
CREATE DATABASE payments;
CREATE DATABASE sensors;
