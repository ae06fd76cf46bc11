BEGIN TRANSACTION;
CREATE TABLE knowledge_batch_document (
	batch_id TEXT NOT NULL, 
	position INTEGER NOT NULL, 
	document_id TEXT NOT NULL, 
	text TEXT NOT NULL, 
	content_hash TEXT NOT NULL, 
	ontology_hash TEXT NOT NULL, 
	PRIMARY KEY (batch_id, position), 
	UNIQUE (batch_id, document_id), 
	FOREIGN KEY(ontology_hash) REFERENCES knowledge_ontology_content (hash)
);
INSERT INTO "knowledge_batch_document" VALUES('from 0001',0,'harbour','Ada painted the Harbour.','2905626ff735557b131b842a93f955954719331f547edd6ecda2b7dde88e7bcb','b5aa8d9c61d24b2f2bbde769a855e669cbff6ed48274c7d8b163d83163622e27');
INSERT INTO "knowledge_batch_document" VALUES('from 0001',1,'sea','Ada saw the Sea.','34267d2c19c4ae58bc07dcc6775619489779b01979b9a3c36f8183170b833647','b5aa8d9c61d24b2f2bbde769a855e669cbff6ed48274c7d8b163d83163622e27');
INSERT INTO "knowledge_batch_document" VALUES('failed in 0001',0,'a','{"fail": 5, "how": "flaky", "names": ["a", "Shared Name"], "seconds": 0.0}','ce9398d84cf22a4cbe757723babb24f4ff28ea956abefcb8c230316b41dd4e9c','64f442817e7053e3c0425e2f7c1f2981064f9d7e47c0cbb621f9b7cbf6355b33');
CREATE TABLE knowledge_batch_event (
	batch_id TEXT NOT NULL, 
	sequence INTEGER NOT NULL, 
	"key" TEXT NOT NULL, 
	document_id TEXT, 
	payload JSON NOT NULL, 
	superseded BOOLEAN NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (batch_id, sequence), 
	UNIQUE (batch_id, "key")
);
INSERT INTO "knowledge_batch_event" VALUES('from 0001',0,'created',NULL,'{"_tag": "BatchEvent.BatchCreated", "batchId": "from 0001", "timestamp": "2026-11-24T01:39:22.717481Z", "totalDocuments": 2}',0,'2026-11-24 01:39:22.717481');
INSERT INTO "knowledge_batch_event" VALUES('from 0001',1,'started:harbour:0','harbour','{"_tag": "BatchEvent.DocumentStarted", "batchId": "from 0001", "timestamp": "2026-11-24T01:39:22.729501Z", "documentId": "harbour", "documentIndex": 0}',0,'2026-11-24 01:39:22.729501');
INSERT INTO "knowledge_batch_event" VALUES('from 0001',2,'ended:harbour:0','harbour','{"_tag": "BatchEvent.DocumentCompleted", "batchId": "from 0001", "timestamp": "2026-11-24T01:39:22.745249Z", "documentId": "harbour", "entityCount": 2, "relationCount": 0}',0,'2026-11-24 01:39:22.745249');
INSERT INTO "knowledge_batch_event" VALUES('from 0001',3,'started:sea:0','sea','{"_tag": "BatchEvent.DocumentStarted", "batchId": "from 0001", "timestamp": "2026-11-24T01:39:22.765648Z", "documentId": "sea", "documentIndex": 1}',0,'2026-11-24 01:39:22.765648');
INSERT INTO "knowledge_batch_event" VALUES('from 0001',4,'ended:sea:0','sea','{"_tag": "BatchEvent.DocumentCompleted", "batchId": "from 0001", "timestamp": "2026-11-24T01:39:22.770174Z", "documentId": "sea", "entityCount": 1, "relationCount": 0}',0,'2026-11-24 01:39:22.770174');
INSERT INTO "knowledge_batch_event" VALUES('from 0001',5,'resolution:0:started',NULL,'{"_tag": "BatchEvent.ResolutionStarted", "batchId": "from 0001", "timestamp": "2026-11-24T01:39:22.772661Z"}',0,'2026-11-24 01:39:22.772661');
INSERT INTO "knowledge_batch_event" VALUES('from 0001',6,'resolution:0:completed',NULL,'{"_tag": "BatchEvent.ResolutionCompleted", "batchId": "from 0001", "timestamp": "2026-11-24T01:39:22.776118Z", "mergeCount": 1}',0,'2026-11-24 01:39:22.776118');
INSERT INTO "knowledge_batch_event" VALUES('from 0001',7,'end:0',NULL,'{"_tag": "BatchEvent.BatchCompleted", "batchId": "from 0001", "timestamp": "2026-11-24T01:39:22.777557Z", "totalDocuments": 2, "entityCount": 3, "relationCount": 0}',0,'2026-11-24 01:39:22.777557');
INSERT INTO "knowledge_batch_event" VALUES('failed in 0001',0,'created',NULL,'{"_tag": "BatchEvent.BatchCreated", "batchId": "failed in 0001", "timestamp": "2026-11-24T01:39:23.863915Z", "totalDocuments": 1}',0,'2026-11-24 01:39:23.863915');
INSERT INTO "knowledge_batch_event" VALUES('failed in 0001',1,'started:a:0','a','{"_tag": "BatchEvent.DocumentStarted", "batchId": "failed in 0001", "timestamp": "2026-11-24T01:39:23.900634Z", "documentId": "a", "documentIndex": 0}',0,'2026-11-24 01:39:23.900634');
INSERT INTO "knowledge_batch_event" VALUES('failed in 0001',5,'ended:a:0','a','{"_tag": "BatchEvent.DocumentFailed", "batchId": "failed in 0001", "timestamp": "2026-11-24T01:39:23.994624Z", "documentId": "a", "error": "FlakyServiceError: a is not ready"}',0,'2026-11-24 01:39:23.994624');
INSERT INTO "knowledge_batch_event" VALUES('failed in 0001',6,'resolution:0:started',NULL,'{"_tag": "BatchEvent.ResolutionStarted", "batchId": "failed in 0001", "timestamp": "2026-11-24T01:39:24.005187Z"}',0,'2026-11-24 01:39:24.005187');
INSERT INTO "knowledge_batch_event" VALUES('failed in 0001',7,'resolution:0:completed',NULL,'{"_tag": "BatchEvent.ResolutionCompleted", "batchId": "failed in 0001", "timestamp": "2026-11-24T01:39:24.017825Z", "mergeCount": 0}',0,'2026-11-24 01:39:24.017825');
INSERT INTO "knowledge_batch_event" VALUES('failed in 0001',8,'end:0',NULL,'{"_tag": "BatchEvent.BatchFailed", "batchId": "failed in 0001", "timestamp": "2026-11-24T01:39:24.026505Z", "error": "All documents failed", "failedDocuments": 1}',0,'2026-11-24 01:39:24.026505');
CREATE TABLE knowledge_batch_execution (
	ontology_id TEXT NOT NULL, 
	status TEXT NOT NULL, 
	document_ids JSON NOT NULL, 
	total_documents INTEGER NOT NULL, 
	completed_documents INTEGER NOT NULL, 
	failed_documents INTEGER NOT NULL, 
	entity_count INTEGER NOT NULL, 
	relation_count INTEGER NOT NULL, 
	concurrency INTEGER NOT NULL, 
	failure_policy TEXT NOT NULL, 
	max_retries INTEGER NOT NULL, 
	enable_entity_resolution BOOLEAN NOT NULL, 
	started_at DATETIME, 
	completed_at DATETIME, 
	error TEXT, 
	config JSON NOT NULL, 
	id TEXT NOT NULL, 
	organization_id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "knowledge_batch_execution" VALUES('knowledge_ontology__ca76b6c9-9e5c-4572-bfaf-678573c54462','completed','["harbour", "sea"]',2,2,0,3,0,3,'continue-on-failure',2,1,'2026-11-24 01:39:22.711579','2026-11-24 01:39:22.778344',NULL,'{"concurrency": 3, "failurePolicy": "continue-on-failure", "maxRetries": 2, "enableEntityResolution": true}','from 0001','shared_organization__9d574ae9-1717-47e9-a624-135f6575c39b','2026-11-24 01:39:22.709660','2026-11-24 01:39:22.778928');
INSERT INTO "knowledge_batch_execution" VALUES('o','failed','["a"]',1,0,1,0,0,3,'continue-on-failure',2,1,'2026-11-24 01:39:23.854627','2026-11-24 01:39:24.028273','All documents failed','{"concurrency": 3, "failurePolicy": "continue-on-failure", "maxRetries": 2, "enableEntityResolution": true}','failed in 0001','o','2026-11-24 01:39:23.851154','2026-11-24 01:39:24.029414');
CREATE TABLE knowledge_batch_run (
	batch_id TEXT NOT NULL, 
	organization_id TEXT NOT NULL, 
	ontology_id TEXT NOT NULL, 
	params_hash TEXT NOT NULL, 
	execution_id TEXT NOT NULL, 
	mode TEXT NOT NULL, 
	mode_reason TEXT NOT NULL, 
	rolled_back_from TEXT, 
	generation INTEGER NOT NULL, 
	owner TEXT, 
	heartbeat_at DATETIME NOT NULL, 
	cancel_requested_at DATETIME, 
	flow_run_id TEXT, 
	next_sequence INTEGER NOT NULL, 
	created_at DATETIME NOT NULL, 
	PRIMARY KEY (batch_id)
);
INSERT INTO "knowledge_batch_run" VALUES('from 0001','shared_organization__9d574ae9-1717-47e9-a624-135f6575c39b','knowledge_ontology__ca76b6c9-9e5c-4572-bfaf-678573c54462','8bedb0835ee9ee4db5c22baafefd058d8fe91b34562e9ca9a84d8188bfd89bd1','knowledge_workflow_execution__5426c70b-3647-4ce5-b65b-52b7bfc24111','legacy','the default',NULL,0,NULL,'2026-11-24 01:39:22.707019',NULL,NULL,8,'2026-11-24 01:39:22.708375');
INSERT INTO "knowledge_batch_run" VALUES('failed in 0001','o','o','089f345b9169fffb0e61c01a7748252e6a1332010a50ec8a382c8e90c53cfe97','knowledge_workflow_execution__fefd1209-473f-4506-b71e-081b9167c87d','legacy','the default',NULL,0,NULL,'2026-11-24 01:39:23.847451',NULL,NULL,9,'2026-11-24 01:39:23.849393');
CREATE TABLE knowledge_document_outcome (
	batch_id TEXT NOT NULL, 
	document_id TEXT NOT NULL, 
	position INTEGER NOT NULL, 
	generation INTEGER NOT NULL, 
	attempts INTEGER NOT NULL, 
	outcome TEXT, 
	started_at DATETIME, 
	ended_at DATETIME, 
	extraction JSON, 
	error_class TEXT, 
	error_message TEXT, 
	error_terminal BOOLEAN, 
	error_args JSON, 
	PRIMARY KEY (batch_id, document_id)
);
INSERT INTO "knowledge_document_outcome" VALUES('from 0001','harbour',0,0,1,'succeeded','2026-11-24 01:39:22.727156','2026-11-24 01:39:22.742325','{"graph": {"entities": [{"id": "knowledge_entity__8069968e-296f-4e74-bb9b-b3b63316277d", "mention": "Ada", "canonicalName": "Ada", "types": ["urn:x:Person"], "attributes": {}, "confidence": 0.8, "mentions": [{"text": "Ada", "startChar": 0, "endChar": 3, "confidence": 0.7, "suggestedType": null, "context": "Ada painted the Harbour.", "chunkIndex": 0}]}, {"id": "knowledge_entity__563db9e2-c479-415f-b08b-339524c3380a", "mention": "Harbour", "canonicalName": "Harbour", "types": ["urn:x:Place"], "attributes": {}, "confidence": 0.8, "mentions": [{"text": "Harbour", "startChar": 16, "endChar": 23, "confidence": 0.7, "suggestedType": null, "context": "Ada painted the Harbour.", "chunkIndex": 0}]}], "relations": [], "entityIndex": {"ada": "knowledge_entity__8069968e-296f-4e74-bb9b-b3b63316277d", "harbour": "knowledge_entity__563db9e2-c479-415f-b08b-339524c3380a"}, "stats": {"entityCount": 2, "relationCount": 0, "unresolvedSubjects": 0, "unresolvedObjects": 0}}, "stats": {"chunkCount": 1, "mentionCount": 2, "entityCount": 2, "relationCount": 0, "tokensUsed": 0, "durationMs": 4, "clusteringEnabled": false}, "config": {"documentId": "harbour", "organizationId": "shared_organization__9d574ae9-1717-47e9-a624-135f6575c39b", "ontologyId": "knowledge_ontology__ca76b6c9-9e5c-4572-bfaf-678573c54462", "mergeEntities": true, "enableIncrementalClustering": false}}',NULL,NULL,NULL,NULL);
INSERT INTO "knowledge_document_outcome" VALUES('from 0001','sea',1,0,1,'succeeded','2026-11-24 01:39:22.763559','2026-11-24 01:39:22.769134','{"graph": {"entities": [{"id": "knowledge_entity__6867b606-4397-41ea-87cd-abafc21fbb6e", "mention": "Ada", "canonicalName": "Ada", "types": ["urn:x:Person"], "attributes": {}, "confidence": 0.8, "mentions": [{"text": "Ada", "startChar": 0, "endChar": 3, "confidence": 0.7, "suggestedType": null, "context": "Ada saw the Sea.", "chunkIndex": 0}]}], "relations": [], "entityIndex": {"ada": "knowledge_entity__6867b606-4397-41ea-87cd-abafc21fbb6e"}, "stats": {"entityCount": 1, "relationCount": 0, "unresolvedSubjects": 0, "unresolvedObjects": 0}}, "stats": {"chunkCount": 1, "mentionCount": 2, "entityCount": 1, "relationCount": 0, "tokensUsed": 0, "durationMs": 1, "clusteringEnabled": false}, "config": {"documentId": "sea", "organizationId": "shared_organization__9d574ae9-1717-47e9-a624-135f6575c39b", "ontologyId": "knowledge_ontology__ca76b6c9-9e5c-4572-bfaf-678573c54462", "mergeEntities": true, "enableIncrementalClustering": false}}',NULL,NULL,NULL,NULL);
INSERT INTO "knowledge_document_outcome" VALUES('failed in 0001','a',0,0,4,'failed','2026-11-24 01:39:23.961975','2026-11-24 01:39:23.984646',NULL,'faults:FlakyServiceError','a is not ready',0,'[]');
CREATE TABLE knowledge_mention_record (
	extraction_id TEXT NOT NULL, 
	document_id TEXT NOT NULL, 
	chunk_index INTEGER NOT NULL, 
	raw_text TEXT NOT NULL, 
	mention_type TEXT, 
	confidence FLOAT NOT NULL, 
	response_hash TEXT NOT NULL, 
	extracted_at DATETIME NOT NULL, 
	resolved_entity_id TEXT, 
	id TEXT NOT NULL, 
	organization_id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "knowledge_mention_record" VALUES('knowledge_extraction__1e415eca-4469-452a-b601-2d4f61f2e001','harbour',0,'Ada','urn:x:Person',0.7,'d56b26798625bf738b5484bd88e8ddfcc3a48ac3bfbeb2b1e0435d1b0b3ea18d','2026-11-24 01:39:22.744519','knowledge_entity__8069968e-296f-4e74-bb9b-b3b63316277d','knowledge_mention_record__7ddcf84d-b59b-49cb-86f5-279c19b478b0','shared_organization__9d574ae9-1717-47e9-a624-135f6575c39b','2026-11-24 01:39:22.744519','2026-11-24 01:39:22.776002');
INSERT INTO "knowledge_mention_record" VALUES('knowledge_extraction__1e415eca-4469-452a-b601-2d4f61f2e001','harbour',0,'Harbour','urn:x:Place',0.7,'aae1d8d54fe781f0cea0052cabc54bfb0a09be5f706b867e51cf283510f13c8e','2026-11-24 01:39:22.744519','knowledge_entity__563db9e2-c479-415f-b08b-339524c3380a','knowledge_mention_record__dcebbff4-cbab-49b0-aeda-f0ebf2bd9aeb','shared_organization__9d574ae9-1717-47e9-a624-135f6575c39b','2026-11-24 01:39:22.744519','2026-11-24 01:39:22.776004');
INSERT INTO "knowledge_mention_record" VALUES('knowledge_extraction__521d627e-a4aa-4a68-99a5-da2223ba3308','sea',0,'Ada','urn:x:Person',0.7,'a551514b7d7835ac88f5439ca139bb54627844d6031a2ee92ebd6e405577a354','2026-11-24 01:39:22.769698','knowledge_entity__8069968e-296f-4e74-bb9b-b3b63316277d','knowledge_mention_record__95b5dfb7-bfbb-4e2c-8d59-83bd0c9096a2','shared_organization__9d574ae9-1717-47e9-a624-135f6575c39b','2026-11-24 01:39:22.769698','2026-11-24 01:39:22.776005');
CREATE TABLE knowledge_ontology_content (
	hash TEXT NOT NULL, 
	content TEXT NOT NULL, 
	PRIMARY KEY (hash)
);
INSERT INTO "knowledge_ontology_content" VALUES('b5aa8d9c61d24b2f2bbde769a855e669cbff6ed48274c7d8b163d83163622e27','@prefix : <urn:x:> . @prefix owl: <http://www.w3.org/2002/07/owl#> . @prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .
:Person a owl:Class ; rdfs:label "Ada" . :Place a owl:Class ; rdfs:label "Harbour", "Sea" .
');
INSERT INTO "knowledge_ontology_content" VALUES('64f442817e7053e3c0425e2f7c1f2981064f9d7e47c0cbb621f9b7cbf6355b33','no ontology is read');
CREATE TABLE knowledge_switch (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	updated_at DATETIME NOT NULL, 
	PRIMARY KEY (name)
);
CREATE TABLE knowledge_workflow_activity (
	execution_id TEXT NOT NULL, 
	activity_name TEXT NOT NULL, 
	status TEXT NOT NULL, 
	input JSON, 
	output JSON, 
	error TEXT, 
	started_at DATETIME, 
	completed_at DATETIME, 
	attempt INTEGER NOT NULL, 
	duration_ms INTEGER, 
	id TEXT NOT NULL, 
	organization_id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "knowledge_workflow_activity" VALUES('knowledge_workflow_execution__1e415eca-4469-452a-b601-2d4f61f2e001','run_extraction_pipeline','completed','{"documentId": "harbour", "textLength": 24, "generation": 0}','{"entityCount": 2, "relationCount": 0, "mentionCount": 2, "chunkCount": 1}',NULL,'2026-11-24 01:39:22.727156','2026-11-24 01:39:22.739977',1,4,'knowledge_workflow_activity__d46b11cd-d836-4d96-875d-d86eb11ea3ef','shared_organization__9d574ae9-1717-47e9-a624-135f6575c39b','2026-11-24 01:39:22.727156','2026-11-24 01:39:22.740879');
INSERT INTO "knowledge_workflow_activity" VALUES('knowledge_workflow_execution__521d627e-a4aa-4a68-99a5-da2223ba3308','run_extraction_pipeline','completed','{"documentId": "sea", "textLength": 16, "generation": 0}','{"entityCount": 1, "relationCount": 0, "mentionCount": 2, "chunkCount": 1}',NULL,'2026-11-24 01:39:22.763559','2026-11-24 01:39:22.768238',1,1,'knowledge_workflow_activity__3a0ab25a-613a-45b0-9919-f26411cebc5a','shared_organization__9d574ae9-1717-47e9-a624-135f6575c39b','2026-11-24 01:39:22.763559','2026-11-24 01:39:22.768507');
INSERT INTO "knowledge_workflow_activity" VALUES('knowledge_workflow_execution__c79491c2-f960-443f-baf6-59605381c7cd','run_extraction_pipeline','failed','{"documentId": "a", "textLength": 74, "generation": 0}',NULL,'FlakyServiceError: a is not ready','2026-11-24 01:39:23.889486','2026-11-24 01:39:23.910249',1,1,'knowledge_workflow_activity__6caa2f1c-d060-4e75-9dfb-a0286feb95ab','o','2026-11-24 01:39:23.889486','2026-11-24 01:39:23.911125');
INSERT INTO "knowledge_workflow_activity" VALUES('knowledge_workflow_execution__c79491c2-f960-443f-baf6-59605381c7cd','run_extraction_pipeline','failed','{"documentId": "a", "textLength": 74, "generation": 0}',NULL,'FlakyServiceError: a is not ready','2026-11-24 01:39:23.920066','2026-11-24 01:39:23.929233',2,0,'knowledge_workflow_activity__72d8f5b0-a475-4a39-bb26-380498f22f1f','o','2026-11-24 01:39:23.920066','2026-11-24 01:39:23.929508');
INSERT INTO "knowledge_workflow_activity" VALUES('knowledge_workflow_execution__c79491c2-f960-443f-baf6-59605381c7cd','run_extraction_pipeline','failed','{"documentId": "a", "textLength": 74, "generation": 0}',NULL,'FlakyServiceError: a is not ready','2026-11-24 01:39:23.942446','2026-11-24 01:39:23.950896',3,0,'knowledge_workflow_activity__c31febb7-f354-4422-a22b-b1fb1f110605','o','2026-11-24 01:39:23.942446','2026-11-24 01:39:23.951281');
INSERT INTO "knowledge_workflow_activity" VALUES('knowledge_workflow_execution__c79491c2-f960-443f-baf6-59605381c7cd','run_extraction_pipeline','failed','{"documentId": "a", "textLength": 74, "generation": 0}',NULL,'FlakyServiceError: a is not ready','2026-11-24 01:39:23.961975','2026-11-24 01:39:23.973799',4,0,'knowledge_workflow_activity__013d7222-9288-4a1d-b85b-b0e6fd86a65b','o','2026-11-24 01:39:23.961975','2026-11-24 01:39:23.982434');
CREATE TABLE knowledge_workflow_execution (
	workflow_type TEXT NOT NULL, 
	status TEXT NOT NULL, 
	input JSON, 
	output JSON, 
	error TEXT, 
	started_at DATETIME, 
	completed_at DATETIME, 
	last_activity_name TEXT, 
	retry_count INTEGER NOT NULL, 
	id TEXT NOT NULL, 
	organization_id TEXT NOT NULL, 
	created_at DATETIME NOT NULL, 
	updated_at DATETIME NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "knowledge_workflow_execution" VALUES('batch_extraction','completed','{"batchId": "from 0001", "totalDocuments": 2, "concurrency": 3, "failurePolicy": "continue-on-failure", "executionMode": "legacy"}','{"batchId": "from 0001", "totalDocuments": 2, "successCount": 2, "failureCount": 0, "entityCount": 3, "relationCount": 0}',NULL,'2026-11-24 01:39:22.711579','2026-11-24 01:39:22.778344','resolve_entities',0,'knowledge_workflow_execution__5426c70b-3647-4ce5-b65b-52b7bfc24111','shared_organization__9d574ae9-1717-47e9-a624-135f6575c39b','2026-11-24 01:39:22.710265','2026-11-24 01:39:22.779544');
INSERT INTO "knowledge_workflow_execution" VALUES('extraction','completed','{"documentId": "harbour", "organizationId": "shared_organization__9d574ae9-1717-47e9-a624-135f6575c39b", "ontologyId": "knowledge_ontology__ca76b6c9-9e5c-4572-bfaf-678573c54462", "textLength": 24, "retryOwner": "activity", "retryAttempt": 0}','{"entityCount": 2, "relationCount": 0, "mentionCount": 2, "chunkCount": 1}',NULL,'2026-11-24 01:39:22.727156','2026-11-24 01:39:22.739977','run_extraction_pipeline',0,'knowledge_workflow_execution__1e415eca-4469-452a-b601-2d4f61f2e001','shared_organization__9d574ae9-1717-47e9-a624-135f6575c39b','2026-11-24 01:39:22.727156','2026-11-24 01:39:22.741833');
INSERT INTO "knowledge_workflow_execution" VALUES('extraction','completed','{"documentId": "sea", "organizationId": "shared_organization__9d574ae9-1717-47e9-a624-135f6575c39b", "ontologyId": "knowledge_ontology__ca76b6c9-9e5c-4572-bfaf-678573c54462", "textLength": 16, "retryOwner": "activity", "retryAttempt": 0}','{"entityCount": 1, "relationCount": 0, "mentionCount": 2, "chunkCount": 1}',NULL,'2026-11-24 01:39:22.763559','2026-11-24 01:39:22.768238','run_extraction_pipeline',0,'knowledge_workflow_execution__521d627e-a4aa-4a68-99a5-da2223ba3308','shared_organization__9d574ae9-1717-47e9-a624-135f6575c39b','2026-11-24 01:39:22.763559','2026-11-24 01:39:22.768841');
INSERT INTO "knowledge_workflow_execution" VALUES('batch_extraction','failed','{"batchId": "failed in 0001", "totalDocuments": 1, "concurrency": 3, "failurePolicy": "continue-on-failure", "executionMode": "legacy"}','{"batchId": "failed in 0001", "totalDocuments": 1, "successCount": 0, "failureCount": 1, "entityCount": 0, "relationCount": 0}','All documents failed','2026-11-24 01:39:23.854627','2026-11-24 01:39:24.028273','resolve_entities',0,'knowledge_workflow_execution__fefd1209-473f-4506-b71e-081b9167c87d','o','2026-11-24 01:39:23.852205','2026-11-24 01:39:24.035906');
INSERT INTO "knowledge_workflow_execution" VALUES('extraction','failed','{"documentId": "a", "organizationId": "o", "ontologyId": "o", "textLength": 74, "retryOwner": "activity", "retryAttempt": 0}',NULL,'FlakyServiceError: a is not ready','2026-11-24 01:39:23.889486','2026-11-24 01:39:23.973799','run_extraction_pipeline',3,'knowledge_workflow_execution__c79491c2-f960-443f-baf6-59605381c7cd','o','2026-11-24 01:39:23.889486','2026-11-24 01:39:23.984013');
CREATE INDEX ix_knowledge_workflow_execution_status ON knowledge_workflow_execution (status);
CREATE INDEX ix_knowledge_workflow_execution_type_status ON knowledge_workflow_execution (workflow_type, status);
CREATE INDEX ix_knowledge_workflow_execution_batch ON knowledge_workflow_execution (workflow_type, (input->>'batchId'), created_at);
CREATE INDEX ix_knowledge_workflow_execution_organization_id ON knowledge_workflow_execution (organization_id);
CREATE INDEX ix_knowledge_workflow_activity_status ON knowledge_workflow_activity (status);
CREATE INDEX ix_knowledge_workflow_activity_organization_id ON knowledge_workflow_activity (organization_id);
CREATE INDEX ix_knowledge_workflow_activity_execution_name ON knowledge_workflow_activity (execution_id, activity_name);
CREATE INDEX ix_knowledge_workflow_activity_execution_id ON knowledge_workflow_activity (execution_id);
CREATE INDEX ix_knowledge_batch_execution_organization_id ON knowledge_batch_execution (organization_id);
CREATE INDEX ix_knowledge_batch_execution_status ON knowledge_batch_execution (status);
CREATE INDEX ix_knowledge_mention_record_resolved_entity_id ON knowledge_mention_record (resolved_entity_id);
CREATE INDEX ix_knowledge_mention_record_extraction_id ON knowledge_mention_record (extraction_id);
CREATE INDEX ix_knowledge_mention_record_organization_id ON knowledge_mention_record (organization_id);
COMMIT;
